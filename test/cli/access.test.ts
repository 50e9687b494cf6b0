import { createHmac } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KeySummary, NewKey } from '../../controller/api/keys.ts';
import type { SecretSummary } from '../../controller/api/secrets.ts';
import type { Problem } from '../../core/errors.ts';
import type { Outcome } from '../support/command.ts';
import { eventually } from '../support/eventually.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';
import { notRoot, skipBecause } from '../support/requires.ts';

describe.skipIf(skipBecause(notRoot()))('who may call', () => {
  let platform: TestPlatform;
  beforeAll(async () => {
    platform = await startPlatform();
  });
  afterAll(() => platform[Symbol.asyncDispose]());

  async function deploy(name: string, policies: string): Promise<string> {
    await platform.deployFiles({
      'fn.yaml': `name: ${name}\nmemory: 64Mi\n${policies}`,
      'index.mjs':
        'export default async (request) => Response.json({ name: request.headers.get("x-fn-key-name"), body: await request.text() });',
    });
    return `${platform.gatewayUrl}/function/${name}`;
  }

  test('a key opens a function, at once and through its queue, until it is removed', async () => {
    const url = await deploy('shut', 'auth: key\n');
    const refused = await platform.fn(['invoke', 'shut', '--json']);
    expect(refused.code).toBe(1);
    expect(JSON.parse(refused.stderr) as Problem).toMatchObject({ code: 'key.required' });

    const created = await platform.fn(['key', 'create', 'plain', '--function', 'other', '--expires', '90d']);
    expect(created.stdout).toMatch(/^fnk_[\w-]{55}\n$/);
    const { key } = await platform.fnJson<NewKey>(['key', 'create', 'shop']);
    const header = ['-H', `X-Api-Key: ${key}`];
    const call = (): Promise<Outcome> => platform.fn(['invoke', 'shut', ...header]);
    await eventually(async () => expect(JSON.parse((await call()).stdout)).toEqual({ name: 'shop', body: '' }));
    expect((await platform.fn(['invoke', 'shut', '-H', `X-Api-Key: ${created.stdout.trim()}`])).code).toBe(1);
    const queued = await platform.fn(['invoke', 'shut', '--async', '--wait', '-d', 'later', ...header]);
    expect(queued.stdout).toContain('"name":"shop","body":"later"');

    const keys = await platform.fnJson<KeySummary[]>(['key', 'ls']);
    expect(keys.map(({ name, functions }) => [name, functions])).toEqual([
      ['plain', ['other']],
      ['shop', null],
    ]);
    expect((await platform.fn(['key', 'ls'])).stdout).not.toContain(key);
    expect(await platform.fn(['key', 'rm', 'shop'])).toMatchObject({ code: 0, stdout: 'revoked shop\n' });
    await eventually(async () => expect((await fetch(url, { headers: { 'x-api-key': key } })).status).toBe(401));
  });

  test('a secret comes from a pipe and is never shown; the gateway checks webhooks with it as nobody', async () => {
    const url = await deploy('hook', 'auth:\n  webhook: { scheme: github, secret: gh }\n');
    expect(await platform.fn(['secret', 'set', 'gh'], { input: 'hush\n' })).toMatchObject({
      code: 0,
      stdout: 'set gh\n',
    });
    const listed = await platform.fn(['secret', 'ls', '--json']);
    expect((JSON.parse(listed.stdout) as SecretSummary[]).map(({ name }) => name)).toEqual(['gh']);
    expect(listed.stdout).not.toContain('hush');
    expect((await stat(platform.config.paths.masterKey)).mode & 0o777).toBe(0o600);
    expect(await readFile(platform.config.paths.masterKey, 'utf8')).not.toContain('hush');

    const deliver = (secret: string): Promise<Response> =>
      fetch(url, {
        method: 'POST',
        body: '{"zen":1}',
        headers: { 'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update('{"zen":1}').digest('hex')}` },
      });
    await eventually(async () => expect(await (await deliver('hush')).json()).toMatchObject({ body: '{"zen":1}' }));
    expect((await deliver('hush\n')).status).toBe(401);
    expect((await platform.fn(['secret', 'rm', 'gh'])).code).toBe(0);
    await eventually(async () => expect((await deliver('hush')).status).toBe(503));
  });

  test.each([
    [['key', 'make', 'x'], '"make" is not one of create, ls, rm'],
    [['key', 'create'], 'create takes one name'],
    [['key', 'create', 'x', '--expires', 'soon'], '--expires soon is not a duration'],
    [['key', 'rm'], 'which key?'],
    [['key', 'rm', 'nobody'], 'there is no key nobody'],
    [['secret', 'set', 'x', 'value'], 'set takes one name, and the value from a pipe'],
    [['secret', 'st', 'x'], '"st" is not one of set, ls, rm'],
    [['secret', 'set', 'x'], 'the value is empty'],
  ])('fn %j says %s', async (args, message) => {
    const { code, stderr } = await platform.fn(args, { input: '' });
    expect(code).not.toBe(0);
    expect(stderr).toContain(message);
  });
});
