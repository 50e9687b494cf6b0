import { afterAll, beforeAll, expect, it } from 'vitest';
import { ensureMasterKey, SECRET_MAX, SecretBox } from '../../core/secrets.ts';
import { type Platform, startPlatform } from './platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
});
afterAll(() => platform[Symbol.asyncDispose]());

const put = (name: string, body: string): Promise<Response> =>
  platform.fetch(`/v1/secrets/${name}`, { method: 'PUT', body });

it('keeps a value sealed and gives it back to nobody', async () => {
  expect((await put('stripe', 'whsec_1')).status).toBe(200);
  const stored = await platform.store.get('secret', 'stripe');
  expect(JSON.stringify(stored)).not.toContain('whsec_1');
  const box = new SecretBox(await ensureMasterKey(platform.redis.config.paths.masterKey));
  expect(box.open('stripe', stored!.value.sealed).toString()).toBe('whsec_1');
  const text = await (await platform.fetch('/v1/secrets')).text();
  expect(JSON.parse(text)).toEqual([
    { name: 'stripe', createdAt: stored!.value.createdAt, updatedAt: stored!.value.updatedAt },
  ]);
  expect((await platform.fetch('/v1/secrets/stripe')).status).toBe(404);
});

it('replaces a value', async () => {
  const before = (await platform.store.get('secret', 'stripe'))!.value;
  await put('stripe', 'whsec_2');
  const after = (await platform.store.get('secret', 'stripe'))!.value;
  expect(after.createdAt).toBe(before.createdAt);
  const box = new SecretBox(await ensureMasterKey(platform.redis.config.paths.masterKey));
  expect(box.open('stripe', after.sealed).toString()).toBe('whsec_2');
});

it.each([
  ['..%2Fx', 'v', 400],
  ['ok', '', 400],
  ['ok', 'x'.repeat(SECRET_MAX + 1), 413],
])('refuses %s', async (name, value, status) => {
  expect((await put(name, value)).status).toBe(status);
});

it('removes a secret once', async () => {
  const remove = (): Promise<Response> => platform.fetch('/v1/secrets/stripe', { method: 'DELETE' });
  expect((await remove()).status).toBe(200);
  expect(await (await remove()).json()).toMatchObject({ code: 'secret.not_found' });
});
