import { createHmac, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SecretBox } from '../../../core/secrets.ts';
import { type FunctionSpecInput, specSchema } from '../../../core/spec.ts';
import { checkSignature } from '../../../gateway/policy/webhook.ts';
import { eventually } from '../../support/eventually.ts';
import { thrownBy } from '../../support/thrown.ts';
import { type Platform, startPlatform } from '../support/platform.ts';
import { exchange, wire } from '../support/wire.ts';
import { runMirror, statusOf } from './mirror.ts';

type Webhook = Extract<NonNullable<FunctionSpecInput['auth']>, { webhook: unknown }>['webhook'];

function check(webhook: Webhook, secret: string, field: string, body: string, now = 0): void {
  const { auth } = specSchema.parse({ name: 'x', auth: { webhook } });
  if (typeof auth !== 'object' || !('webhook' in auth)) throw new Error('no webhook');
  const pieces = [Buffer.from(body.slice(0, 3)), Buffer.from(body.slice(3))]; // It comes as it comes.
  checkSignature(auth.webhook, `host: a\r\n${field}\r\n`, pieces, () => Buffer.from(secret), now);
}

const refusal = (...args: Parameters<typeof check>): string => thrownBy(() => check(...args)).message;

describe('a signature of GitHub', () => {
  // The test values of docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.
  const SECRET = "It's a Secret to Everybody";
  const BODY = 'Hello, World!';
  const FIELD = 'X-Hub-Signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17';
  const github: Webhook = { scheme: 'github', secret: 's' };

  it('fits its secret and its body only', () => {
    check(github, SECRET, FIELD, BODY);
    expect(refusal(github, SECRET, FIELD, `${BODY} `)).toContain('does not fit');
    expect(refusal(github, 'another', FIELD, BODY)).toContain('does not fit');
  });

  it.each([
    ['X-Hub-Signature-256: sha256=757107', 'does not fit'],
    ['X-Hub-Signature-256: sha256=', 'not hex'],
    ['X-Hub-Signature-256: sha256=zz', 'not hex'],
    ['X-Hub-Signature-256: sha1=757107ea', 'does not begin with sha256='],
    ['X-Hub-Signature: sha1=757107ea', 'carries no x-hub-signature-256'],
    [`${FIELD}\r\n${FIELD}`, 'several'],
  ])('is refused: %s', (field, why) => expect(refusal(github, SECRET, field, BODY)).toContain(why));
});

describe('a signature of Stripe', () => {
  // The scheme of docs.stripe.com/webhooks ("Verify webhook signatures manually"); the value is from
  // printf '%s' '1492774577.{"id":"evt_test_webhook","object":"event"}' | openssl dgst -sha256 -hmac whsec_test_secret
  const BODY = '{"id":"evt_test_webhook","object":"event"}';
  const V1 = 'v1=88a022085c6bdb887b02cb26ff76dd681234d9675c0f22844059f55552a8883a';
  const OLD = `v1=${'0'.repeat(64)}`;
  const NOW = 1_492_774_577_000;
  const stripe: Webhook = { scheme: 'stripe', secret: 's' };
  const why = (field: string, now = NOW, body = BODY): string =>
    refusal(stripe, 'whsec_test_secret', `Stripe-Signature: ${field}`, body, now);

  it('fits among several, beside other schemes', () => {
    for (const field of [`t=1492774577,${V1}`, `t=1492774577,${OLD},${V1},v0=6ffbb59b`, `t=1492774577, ${V1}`]) {
      expect(() => check(stripe, 'whsec_test_secret', `Stripe-Signature: ${field}`, BODY, NOW)).not.toThrow();
    }
  });

  it('is good for five minutes, both ways, or what the tolerance says', () => {
    const field = `Stripe-Signature: t=1492774577,${V1}`;
    for (const off of [-300_000, 300_000]) check(stripe, 'whsec_test_secret', field, BODY, NOW + off);
    for (const off of [-300_001, 300_001]) expect(why(`t=1492774577,${V1}`, NOW + off)).toContain('too old');
    check({ ...stripe, tolerance: '1h' }, 'whsec_test_secret', field, BODY, NOW + 3_600_000);
  });

  it.each([
    [`t=1492774578,${V1}`, 'does not fit'],
    [`t=1492774577,${OLD}`, 'does not fit'],
    ['t=1492774577', 'does not fit'],
    [`t=1492774577,v0=${V1.slice(3)}`, 'does not fit'],
    [V1, 'has no time'],
    [`t=now,${V1}`, 'has no time'],
    ['t=1492774577,v1=xyz', 'not hex'],
  ])('is refused: %s', (field, reason) => expect(why(field)).toContain(reason));
});

describe('a generic signature', () => {
  it('is read as the spec says', () => {
    // printf abc | openssl dgst -sha512 -hmac k -binary | base64 -w0
    const value = 'u57HcB996KNi13W5v8thpHS/i/adXb7gaJpLKEvFmlT/0c/cBRUXWa/Zf/0aJVs4Sc53XqS+eZpl5qGayX4q3g==';
    const hook: Webhook = { scheme: 'generic', secret: 's', header: 'X-Sign', algorithm: 'sha512', encoding: 'base64' };
    check(hook, 'k', `x-sign: ${value}`, 'abc');
    check({ ...hook, prefix: 'v=' }, 'k', `X-Sign: v=${value}`, 'abc');
    expect(refusal({ ...hook, algorithm: 'sha256' }, 'k', `x-sign: ${value}`, 'abc')).toContain('does not fit');
    expect(refusal(hook, 'k', 'x-sign: !!', 'abc')).toContain('not base64');
  });
});

describe('auth: webhook', () => {
  const masterKey = randomBytes(32);
  const box = new SecretBox(masterKey);
  const HOOK: FunctionSpecInput = { name: 'hook', auth: { webhook: { scheme: 'github', secret: 'gh' } } };
  const sign = (body: string | Buffer): string => `sha256=${createHmac('sha256', 'shh').update(body).digest('hex')}`;
  const signed = (body: string): RequestInit => ({
    method: 'POST',
    body,
    headers: { 'x-hub-signature-256': sign(body), 'content-type': 'application/json' },
  });

  async function setSecret(platform: Platform, value: string): Promise<void> {
    const record = { name: 'gh', sealed: box.seal('gh', Buffer.from(value)), createdAt: 0, updatedAt: 0 };
    await platform.store.put('secret', 'gh', record);
    await new Promise((resolve) => setImmediate(resolve));
  }

  it('passes a signed body on, byte for byte, with its signature', async () => {
    await using platform = await startPlatform({}, { masterKey });
    const calls = await runMirror(platform, HOOK);
    await setSecret(platform, 'shh');
    for (const body of ['{"zen":"ü"}', '', 'x'.repeat(1_000_000)]) {
      expect(await statusOf(`${platform.url}/function/hook`, signed(body))).toBe(200);
      expect(calls.at(-1)).toMatchObject({ body, headers: { 'x-hub-signature-256': sign(body) } });
    }
    const chunked = await exchange(
      platform.port,
      `POST /function/hook HTTP/1.1\r\nHost: a\r\nX-Hub-Signature-256: ${sign('abcdef')}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n`,
    );
    expect(chunked).toMatch(/^HTTP\/1.1 200 /);
    expect(calls.at(-1)?.body).toBe('abcdef');
  });

  it('refuses what is not signed, or by another, and the function never hears of it', async () => {
    await using platform = await startPlatform({}, { masterKey });
    const calls = await runMirror(platform, HOOK);
    await setSecret(platform, 'shh');
    const url = `${platform.url}/function/hook`;
    const forged = await fetch(url, { ...signed('{}'), body: '{ }' });
    expect(forged.status).toBe(401);
    expect(forged.headers.get('www-authenticate')).toBe('Signature realm="hook"');
    expect(await forged.json()).toMatchObject({ code: 'signature.invalid' });
    expect(await statusOf(url, { method: 'POST', body: '{}' })).toBe(401);
    await using unsigned = await wire(platform.port);
    unsigned.send('POST /function/hook HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n');
    expect(await unsigned.end()).toMatch(/^HTTP\/1.1 401 /); // Its body is not waited for.
    await setSecret(platform, 'rotated');
    expect(await statusOf(url, signed('{}'))).toBe(401);
    expect(calls).toEqual([]);
  });

  it('without its secret, or a master key, is 503 that says what to type', async () => {
    await using platform = await startPlatform({}, { masterKey });
    await runMirror(platform, HOOK);
    const reply = await fetch(`${platform.url}/function/hook`, signed('{}'));
    expect(reply.status).toBe(503);
    expect(await reply.json()).toMatchObject({ code: 'secret.missing', hint: 'Set it: fn secret set gh' });
    await using blind = await startPlatform();
    await runMirror(blind, HOOK);
    await setSecret(blind, 'shh');
    expect(await (await fetch(`${blind.url}/function/hook`, signed('{}'))).json()).toMatchObject({
      code: 'secret.unreadable',
    });
  });

  it('holds 1 MiB of a body and no more, or what bodyLimit says', async () => {
    await using platform = await startPlatform({}, { masterKey });
    const calls = await runMirror(platform, HOOK);
    await runMirror(platform, { ...HOOK, name: 'large', bodyLimit: '4Mi' });
    await setSecret(platform, 'shh');
    const body = 'x'.repeat(2 ** 20 + 1);
    expect(await statusOf(`${platform.url}/function/hook`, signed(body))).toBe(413);
    expect(await statusOf(`${platform.url}/function/large`, signed(body))).toBe(200);
    await using client = await wire(platform.port);
    const signature = `X-Hub-Signature-256: ${sign(body)}\r\n`;
    client.send(`POST /function/hook HTTP/1.1\r\nHost: a\r\n${signature}Transfer-Encoding: chunked\r\n\r\n`);
    client.send(`100001\r\n${'x'.repeat(0x100001)}\r\n`);
    expect(await client.end()).toMatch(/^HTTP\/1.1 413 /);
    expect(calls).toEqual([]);
  });

  it('tells a sender that asks to go on, and lets go of a body whose sender leaves', async () => {
    await using platform = await startPlatform({}, { masterKey });
    const calls = await runMirror(platform, HOOK);
    await setSecret(platform, 'shh');
    const head = `POST /function/hook HTTP/1.1\r\nHost: a\r\nX-Hub-Signature-256: ${sign('abc')}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n`;
    await using asking = await wire(platform.port);
    asking.send(`${head}Connection: close\r\n\r\n`);
    await asking.until(/100 Continue/);
    asking.send('abc');
    expect(await asking.end()).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 /);
    expect(calls[0]?.headers).not.toHaveProperty('expect');
    const leaving = await wire(platform.port);
    leaving.send(`${head}\r\n`);
    await leaving.until(/100 Continue/);
    leaving.send('ab');
    await leaving[Symbol.asyncDispose]();
    await eventually(() => expect(platform.gateway.facts()).toMatchObject({ connections: 0 }));
    expect(calls).toHaveLength(1);
  });
});
