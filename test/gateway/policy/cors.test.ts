import { describe, expect, it } from 'vitest';
import { corsPlanOf } from '../../../gateway/policy/cors.ts';
import { specSchema } from '../../../core/spec.ts';
import { startPlatform } from '../support/platform.ts';
import { runMirror } from './mirror.ts';

const APP = 'https://app.test';
const ask = (url: string, origin: string, method = 'POST'): Promise<Response> =>
  fetch(url, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': method } });

function plan(...origins: string[]) {
  const { cors } = specSchema.parse({ name: 'x', cors: { origins } });
  return corsPlanOf(cors!, undefined);
}

describe('an origin', () => {
  it.each([
    [[APP], APP, true],
    [[APP], 'https://app.test.evil', false],
    [[APP], 'http://app.test', false],
    [[APP], 'https://app.test:8443', false],
    [['https://*.app.test'], 'https://a.app.test', true],
    [['https://*.app.test'], 'https://a.b.app.test', true],
    [['https://*.app.test'], 'https://app.test', false],
    [['https://*.app.test'], 'https://evilapp.test', false],
    [['https://*.app.test'], 'https://evil.test/.app.test', false],
    [['https://*.app.test'], 'https://evil@a.app.test', false],
    [['https://*.app.test'], 'https://.app.test', false],
    [['http://localhost:3000'], 'http://localhost:3000', true],
    [['*'], 'null', true],
    [[APP], 'null', false],
  ])('of %j: %s %s', (origins, origin, allowed) => expect(plan(...origins).allows(origin)).toBe(allowed));
});

describe('cors', () => {
  it('answers a preflight without the function, whatever else the function demands', async () => {
    await using platform = await startPlatform();
    const calls = await runMirror(platform, {
      name: 'api',
      auth: 'key',
      cors: { origins: [APP], credentials: true, maxAge: '1h' },
      triggers: [{ http: { path: '/here/*', methods: ['PUT', 'GET'] } }],
    });
    for (const [path, method, methods] of [
      ['/function/api/x', 'POST', 'GET, HEAD, POST, PUT, PATCH, DELETE'],
      ['/async/api', 'POST', 'GET, HEAD, POST, PUT, PATCH, DELETE'],
      ['/here/y', 'PUT', 'PUT, GET'],
    ] as const) {
      const reply = await ask(platform.url + path, APP, method);
      expect(reply.status).toBe(204);
      expect(Object.fromEntries(reply.headers)).toMatchObject({
        'access-control-allow-origin': APP,
        'access-control-allow-credentials': 'true',
        'access-control-allow-methods': methods,
        'access-control-allow-headers': 'authorization, content-type, x-api-key, x-request-id',
        'access-control-max-age': '3600',
        vary: 'origin',
      });
      expect(reply.headers.has('content-length')).toBe(false);
    }
    expect(calls).toEqual([]);
  });

  it('refuses the preflight of another origin and names it back nowhere', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'api', cors: { origins: [APP], credentials: true } });
    const reply = await ask(`${platform.url}/function/api`, 'https://evil.test');
    expect(reply.status).toBe(403);
    expect(reply.headers.get('access-control-allow-origin')).toBeNull();
    expect(reply.headers.get('vary')).toBe('origin');
    expect(await reply.json()).toMatchObject({ code: 'origin.refused' });
    expect(await platform.gateway.metricsText()).toContain('fn_policy_refusals_total{function="api",policy="cors"} 1');
  });

  it('is said on replies and refusals alike, in place of what the function says', async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'own', cors: { origins: [APP], expose: ['x-mine'] } }, (_, response) => {
      response.setHeader('Access-Control-Allow-Origin', '*');
      response.setHeader('access-control-allow-credentials', 'true');
      response.setHeader('x-mine', 'yes');
      response.setHeader('vary', 'accept');
      response.end();
    });
    await runMirror(platform, { name: 'shut', auth: 'key', cors: { origins: [APP] } });
    const get = (name: string, origin: string): Promise<Response> =>
      fetch(`${platform.url}/function/${name}`, { headers: { origin } });
    const own = await get('own', APP);
    expect(own.headers.get('access-control-allow-origin')).toBe(APP);
    expect(own.headers.get('access-control-allow-credentials')).toBeNull();
    expect(own.headers.get('access-control-expose-headers')).toBe('x-mine');
    expect(own.headers.get('x-mine')).toBe('yes');
    expect(own.headers.get('vary')).toBe('accept, origin');
    const evil = await get('own', 'https://evil.test');
    expect(evil.status).toBe(200);
    expect(evil.headers.get('access-control-allow-origin')).toBeNull();
    expect(evil.headers.get('vary')).toBe('accept, origin');
    const shut = await get('shut', APP);
    expect(shut.status).toBe(401);
    expect(shut.headers.get('access-control-allow-origin')).toBe(APP);
  });

  it('of any origin needs no Vary', async () => {
    await using platform = await startPlatform();
    await runMirror(platform, { name: 'open', cors: { origins: ['*'] } });
    const reply = await fetch(`${platform.url}/function/open`, { headers: { origin: 'https://who.test' } });
    expect(reply.headers.get('access-control-allow-origin')).toBe('*');
    expect(reply.headers.get('vary')).toBeNull();
  });

  it("is the function's own affair without the key, and so is an OPTIONS that is no preflight", async () => {
    await using platform = await startPlatform();
    await platform.run({ name: 'own' }, (request, response) => {
      response.setHeader('access-control-allow-origin', 'https://its.test');
      response.end(request.method);
    });
    const calls = await runMirror(platform, { name: 'api', cors: { origins: [APP] } });
    const own = await ask(`${platform.url}/function/own`, APP);
    expect([own.status, own.headers.get('access-control-allow-origin')]).toEqual([200, 'https://its.test']);
    expect((await fetch(`${platform.url}/function/api`, { method: 'OPTIONS' })).status).toBe(200);
    expect(calls).toHaveLength(1);
  });
});
