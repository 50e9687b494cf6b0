import { createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../../../core/clock.ts';
import { type FunctionSpecInput, specSchema } from '../../../core/spec.ts';
import { Tokens } from '../../../gateway/policy/tokens.ts';
import { rejectionOf } from '../../support/thrown.ts';
import { type Platform, startPlatform } from '../support/platform.ts';
import { runMirror, type Seen, statusOf } from './mirror.ts';

type JwtInput = Extract<NonNullable<FunctionSpecInput['auth']>, { jwt: unknown }>['jwt'];

interface Signer {
  readonly jwk: object;
  sign(claims?: JWTPayload, header?: object): Promise<string>;
}

const CLAIMS = { iss: 'https://issuer.test/', aud: 'api', sub: 'ann' };
const NOW = Math.floor(Date.now() / 1000);

async function signer(kid: string | undefined, alg = 'ES256'): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), alg, use: 'sig', ...(kid !== undefined && { kid }) };
  return {
    jwk,
    sign: (claims = {}, header = {}) =>
      new SignJWT({ ...CLAIMS, iat: NOW, exp: NOW + 600, ...claims })
        .setProtectedHeader({ alg, ...(kid !== undefined && { kid }), ...header })
        .sign(privateKey),
  };
}

/** An issuer's key set on a port of this machine. */
async function issuer(...keys: object[]) {
  const state = { keys, status: 200, fetches: 0, body: undefined as string | undefined };
  const server = createServer((_, response) => {
    state.fetches++;
    response.writeHead(state.status, { 'content-type': 'application/json', location: '/elsewhere' });
    response.end(state.body ?? JSON.stringify({ keys: state.keys }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const uri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
  return Object.assign(state, {
    uri,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

function policyOf(jwksUri: string, more: Partial<JwtInput> = {}) {
  const { auth } = specSchema.parse({
    name: 'x',
    auth: { jwt: { issuer: CLAIMS.iss, audience: 'api', jwksUri, ...more } },
  });
  if (typeof auth !== 'object' || !('jwt' in auth)) throw new Error('no jwt');
  return auth.jwt;
}

const bearer = (token: string): string => `host: a\r\nauthorization: Bearer ${token}\r\n`;
const unsigned = (header: object, claims: object): string =>
  [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');

describe('a token', () => {
  it('of the issuer passes, signed with any allowed algorithm', async () => {
    for (const alg of ['ES256', 'RS256', 'PS256', 'EdDSA']) {
      const one = await signer('k1', alg);
      await using keys = await issuer(one.jwk);
      const { caller, fields } = await new Tokens(new VirtualClock(Date.now())).identify(
        policyOf(keys.uri),
        bearer(await one.sign()),
      );
      expect(caller).toBe('jwt:https://issuer.test/|ann');
      expect(fields).toMatch(/^host: a\r\nx-fn-claims: [\w-]+\r\n$/);
    }
  });

  it('is refused, with the reason', async () => {
    const [one, stranger, rsa] = await Promise.all([signer('k1'), signer('k1'), signer('k2', 'RS512')]);
    await using keys = await issuer(one.jwk, rsa.jwk, { kty: 'oct', kid: 'k3', k: 'c2VjcmV0' });
    const tokens = new Tokens(new VirtualClock(Date.now()));
    const why = async (token: string, more: Partial<JwtInput> = {}): Promise<string> => {
      const error = await rejectionOf(tokens.identify(policyOf(keys.uri, more), bearer(token)));
      expect(error.code).toBe('token.invalid');
      return error.message;
    };
    const good = await one.sign();
    const claims = { ...CLAIMS, exp: NOW + 600 };
    expect(await why(await one.sign({ exp: NOW - 6 }))).toContain('expired');
    expect(await why(await one.sign({ nbf: NOW + 60 }))).toContain('claim nbf');
    expect(await why(await one.sign({ exp: undefined as never }))).toContain('claim exp');
    expect(await why(await one.sign({ iss: 'https://issuer.test' }))).toContain('claim iss');
    expect(await why(await one.sign({ aud: 'other' }))).toContain('claim aud');
    expect(await why(await stranger.sign())).toContain('signature');
    expect(await why(await one.sign({}, { kid: 'k9' }))).toContain('no such key');
    expect(await why(await rsa.sign())).toContain('algorithm');
    expect(await why(good, { algorithms: ['RS256'] })).toContain('algorithm');
    expect(await why(`${good.slice(0, -2)}AA`)).toContain('signature');
    // No signature, and one made with what is public as a shared secret.
    const none = unsigned({ alg: 'none' }, claims);
    expect((await rejectionOf(tokens.identify(policyOf(keys.uri), bearer(`${none}.`)))).code).toBe('token.required');
    expect(await why(`${none}.AA`)).toContain('algorithm');
    const hs = unsigned({ alg: 'HS256', kid: 'k1' }, claims);
    const forged = createHmac('sha256', JSON.stringify(one.jwk)).update(hs).digest('base64url');
    expect(await why(`${hs}.${forged}`)).toContain('algorithm');
    const oct = unsigned({ alg: 'HS256', kid: 'k3' }, claims);
    expect(await why(`${oct}.${createHmac('sha256', 'secret').update(oct).digest('base64url')}`)).toContain(
      'algorithm',
    );
    expect(await why('a.b.c')).toContain('cannot be read');
  });

  it('that names no key is tried with each that could have signed it', async () => {
    const [one, two, three] = await Promise.all([signer(undefined), signer(undefined), signer(undefined)]);
    await using keys = await issuer(one.jwk, two.jwk);
    const tokens = new Tokens(new VirtualClock(Date.now()));
    expect((await tokens.identify(policyOf(keys.uri), bearer(await two.sign()))).caller).toContain('ann');
    expect((await rejectionOf(tokens.identify(policyOf(keys.uri), bearer(await three.sign())))).code).toBe(
      'token.invalid',
    );
  });
});

describe('the keys of an issuer', () => {
  it('are fetched once for many, and again for a name that is new, but not for each made-up one', async () => {
    const [one, two] = await Promise.all([signer('k1'), signer('k2')]);
    await using keys = await issuer(one.jwk);
    const clock = new VirtualClock(Date.now());
    const tokens = new Tokens(clock);
    const ask = async (token: string): Promise<unknown> => tokens.identify(policyOf(keys.uri), bearer(token));
    await Promise.all(Array.from({ length: 10 }, async () => ask(await one.sign())));
    expect(keys.fetches).toBe(1);
    keys.keys = [two.jwk];
    clock.advance(30_000);
    await ask(await two.sign());
    expect(keys.fetches).toBe(2);
    for (const kid of ['x', 'y', 'z']) await rejectionOf(ask(await one.sign({}, { kid })));
    expect(keys.fetches).toBe(2);
  });

  it('stay good while the issuer is away, and are asked for again later', async () => {
    const one = await signer('k1');
    await using keys = await issuer(one.jwk);
    const clock = new VirtualClock(Date.now());
    const tokens = new Tokens(clock);
    const ask = async (): Promise<unknown> =>
      tokens.identify(policyOf(keys.uri), bearer(await one.sign({ exp: NOW + 100_000 })));
    await ask();
    keys.status = 500;
    for (let n = 0; n < 5; n++) {
      clock.advance(600_001);
      await ask();
    }
    expect(keys.fetches).toBeGreaterThan(1);
  });

  it.each([
    ['an error', { status: 500 }],
    ['a redirect', { status: 302 }],
    ['no JSON', { body: '<html>' }],
    ['no set of keys', { body: '[]' }],
    ['a reply without end', { body: `{"keys":["${'x'.repeat(300_000)}"]}` }],
  ])('that cannot be had for %s are 503, and the issuer is not asked for each request', async (_, broken) => {
    const one = await signer('k1');
    await using keys = await issuer(one.jwk);
    Object.assign(keys, broken);
    const clock = new VirtualClock(Date.now());
    const tokens = new Tokens(clock);
    const ask = async (): Promise<unknown> => tokens.identify(policyOf(keys.uri), bearer(await one.sign()));
    for (let n = 0; n < 3; n++) expect((await rejectionOf(ask())).code).toBe('token.unverifiable');
    expect(keys.fetches).toBe(1);
    Object.assign(keys, { status: 200, body: undefined });
    clock.advance(5000);
    await ask();
  });
});

describe('auth: jwt', () => {
  const run = (platform: Platform, jwksUri: string, more: Partial<FunctionSpecInput> = {}): Promise<Seen[]> =>
    runMirror(platform, {
      name: 'api',
      auth: { jwt: { issuer: CLAIMS.iss, audience: ['other', 'api'], jwksUri } },
      ...more,
    });

  it('gives the function the claims, and not the token', async () => {
    const one = await signer('k1');
    await using keys = await issuer(one.jwk);
    await using platform = await startPlatform();
    const calls = await run(platform, keys.uri);
    const token = await one.sign({ scope: 'read', name: 'Änn' });
    const reply = await fetch(`${platform.url}/function/api`, {
      method: 'POST',
      body: 'hello',
      headers: { authorization: `Bearer ${token}`, 'x-fn-claims': 'e30' },
    });
    expect(reply.status).toBe(200);
    const { headers, body } = calls[0]!;
    expect(body).toBe('hello');
    expect(JSON.parse(Buffer.from(headers['x-fn-claims'] ?? '', 'base64url').toString())).toMatchObject({
      sub: 'ann',
      scope: 'read',
      name: 'Änn',
    });
    expect(headers).not.toHaveProperty('authorization');
  });

  it('is 401 as RFC 6750 says, and the function never hears of it', async () => {
    const one = await signer('k1');
    await using keys = await issuer(one.jwk);
    await using platform = await startPlatform();
    const calls = await run(platform, keys.uri);
    const url = `${platform.url}/function/api`;
    const bare = await fetch(url);
    expect([bare.status, bare.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="api"']);
    const old = await fetch(url, { headers: { authorization: `Bearer ${await one.sign({ exp: 1 })}` } });
    expect([old.status, old.headers.get('www-authenticate')]).toEqual([
      401,
      'Bearer realm="api", error="invalid_token"',
    ]);
    expect(await old.json()).toMatchObject({ code: 'token.invalid', detail: expect.stringContaining('expired') });
    expect(calls).toEqual([]);
  });

  it('is 503 with Retry-After while the issuer never answered', async () => {
    const one = await signer('k1');
    const gone = await issuer(one.jwk);
    await gone[Symbol.asyncDispose]();
    await using platform = await startPlatform();
    await run(platform, gone.uri);
    const reply = await fetch(`${platform.url}/function/api`, {
      headers: { authorization: `Bearer ${await one.sign()}` },
    });
    expect([reply.status, reply.headers.get('retry-after')]).toEqual([503, '5']);
    expect(await reply.json()).toMatchObject({ detail: 'the keys of the issuer cannot be had: ECONNREFUSED' });
  });

  it('gives each subject a rate of its own', async () => {
    const one = await signer('k1');
    await using keys = await issuer(one.jwk);
    await using platform = await startPlatform();
    await run(platform, keys.uri, { rate: '1/d' });
    const ask = async (sub: string): Promise<number> =>
      statusOf(`${platform.url}/function/api`, { headers: { authorization: `Bearer ${await one.sign({ sub })}` } });
    expect([await ask('ann'), await ask('ann'), await ask('bob')]).toEqual([200, 429, 200]);
  });
});
