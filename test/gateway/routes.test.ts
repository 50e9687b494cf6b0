import { describe, expect, it } from 'vitest';
import type { FunctionName, RevisionId } from '../../core/ids.ts';
import type { FunctionRecord, RevisionRecord } from '../../core/records.ts';
import { type FunctionSpecInput, specSchema } from '../../core/spec.ts';
import { RouteTable } from '../../gateway/routes.ts';
import { startPlatform } from './support/platform.ts';
import { exchange } from './support/wire.ts';

type Http = { path: string; host?: string; methods?: ('GET' | 'POST' | 'PUT')[] };

function table(functions: Record<string, { http: Http[]; createdAt?: number }>): RouteTable {
  const routes = new RouteTable();
  for (const [name, { http, createdAt = 0 }] of Object.entries(functions)) {
    const triggers = http.map((one) => ({ http: one })) as NonNullable<FunctionSpecInput['triggers']>;
    const spec = specSchema.parse({ name, triggers });
    const id = `${name}-00001` as RevisionId;
    const revision = { id, function: spec.name, spec, createdAt } as RevisionRecord;
    const traffic = [{ revision: id, weight: 100 }];
    const record = { name: spec.name, traffic, latest: 1, createdAt, updatedAt: createdAt } as FunctionRecord;
    routes.set(spec.name, record, () => revision);
  }
  return routes;
}

function found(routes: RouteTable, method: string, path: string): string | undefined {
  const match = routes.match(method, path);
  return match && ('route' in match ? match.route.name : `allow ${match.allow.join(',')}`);
}

describe('the route table', () => {
  it('prefers the exact path, then the longest pattern', () => {
    const routes = table({
      all: { http: [{ path: '/*' }] },
      api: { http: [{ path: '/api/*' }] },
      thumbs: { http: [{ path: '/api/thumbs/*' }] },
      one: { http: [{ path: '/api/thumbs/1' }] },
    });
    expect(found(routes, 'GET', '/x')).toBe('all');
    expect(found(routes, 'GET', '/api/x')).toBe('api');
    expect(found(routes, 'GET', '/api')).toBe('all');
    expect(found(routes, 'GET', '/api/thumbs/2')).toBe('thumbs');
    expect(found(routes, 'GET', '/api/thumbs/1')).toBe('one');
    expect(found(routes, 'GET', '/api/thumbs/1/2')).toBe('thumbs');
  });

  it('prefers a route that names the method, and goes on where none does', () => {
    const routes = table({
      any: { http: [{ path: '/a' }] },
      reads: { http: [{ path: '/a', methods: ['GET'] }] },
      below: { http: [{ path: '/b/*' }] },
      writes: { http: [{ path: '/b/c', methods: ['POST'] }] },
    });
    expect(found(routes, 'GET', '/a')).toBe('reads');
    expect(found(routes, 'PUT', '/a')).toBe('any');
    expect(found(routes, 'POST', '/b/c')).toBe('writes');
    expect(found(routes, 'GET', '/b/c')).toBe('below');
  });

  it('prefers the older function, then the name', () => {
    const routes = table({
      young: { http: [{ path: '/x' }], createdAt: 2 },
      old: { http: [{ path: '/x' }], createdAt: 1 },
      b: { http: [{ path: '/y' }], createdAt: 1 },
      a: { http: [{ path: '/y' }], createdAt: 1 },
    });
    expect(found(routes, 'GET', '/x')).toBe('old');
    expect(found(routes, 'GET', '/y')).toBe('a');
  });

  it('names the methods a path has when it has not this one', () => {
    const routes = table({ f: { http: [{ path: '/x', methods: ['GET', 'PUT'] }] } });
    expect(found(routes, 'POST', '/x')).toBe('allow GET,PUT');
    expect(found(routes, 'POST', '/y')).toBeUndefined();
  });

  it('compares paths as they came', () => {
    const routes = table({ f: { http: [{ path: '/a/b' }] } });
    expect(found(routes, 'GET', '/a%2Fb')).toBeUndefined();
    expect(found(routes, 'GET', '/a/../a/b')).toBeUndefined();
    expect(found(routes, 'GET', '/A/b')).toBeUndefined();
  });

  it('keeps the routes of a host apart from those of all hosts', () => {
    const routes = table({
      everywhere: { http: [{ path: '/x' }] },
      api: { http: [{ path: '/x', host: 'api.example.com' }] },
      writes: { http: [{ path: '/y', host: 'api.example.com', methods: ['POST'] }] },
    });
    const at = (host: string, target: string): string | undefined => {
      const match = routes.matchHost(host, 'GET', target);
      return match && ('route' in match ? match.route.name : `allow ${match.allow.join(',')}`);
    };
    expect(at('api.example.com', '/x?q=/y')).toBe('api');
    expect(at('API.Example.com:8080', '/x')).toBe('api');
    expect(at('api.example.com', '/y')).toBe('allow POST');
    expect(at('api.example.com', '/z')).toBeUndefined();
    expect(at('example.com', '/x')).toBeUndefined();
    expect(found(routes, 'GET', '/x')).toBe('everywhere');
  });

  it('forgets a function that is gone or going', () => {
    const routes = table({ f: { http: [{ path: '/x' }] } });
    routes.set('f' as FunctionName, undefined, () => undefined);
    expect(found(routes, 'GET', '/x')).toBeUndefined();
    expect(routes.get('f')).toBeUndefined();
  });

  it('answers 10,000 routes as fast as one', () => {
    const many = table(
      Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`f${n}`, { http: [{ path: `/api/f${n}/*` }] }])),
    );
    expect(found(many, 'GET', '/api/f9999/x')).toBe('f9999');
  });
});

describe('a request', () => {
  it('finds its function by path and method, and the function sees the whole path', async () => {
    await using platform = await startPlatform();
    const http = { path: '/api/thumbs/*', methods: ['POST' as const] };
    await platform.run({ name: 'thumbs', triggers: [{ http }] }, (request, response) => response.end(request.url));
    const reply = await fetch(`${platform.url}/api/thumbs/a.png?w=1`, { method: 'POST' });
    expect(await reply.text()).toBe('/api/thumbs/a.png?w=1');
    const refused = await fetch(`${platform.url}/api/thumbs/a.png`);
    expect(refused.status).toBe(405);
    expect(refused.headers.get('allow')).toBe('POST');
  });

  it('finds its function by host, which then serves every path', async () => {
    await using platform = await startPlatform({ FN_DOMAIN: 'fn.test' });
    await platform.run({ name: 'site' }, (request, response) => response.end(`<${request.url}>`));
    const ask = (host: string, path: string): Promise<string> =>
      exchange(platform.port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect(await ask('site.fn.test', '/function/other?x')).toContain('</function/other?x>');
    expect(await ask('SITE.FN.TEST:80', '/healthz')).toContain('</healthz>');
    expect(await ask('other.fn.test', '/')).toContain('function.not_found');
    expect(await ask('a.site.fn.test', '/')).toContain('alias.not_found');
    expect(await ask('a.b.site.fn.test', '/')).toContain('function.not_found');
    expect(await ask('fn.test', '/healthz')).toContain('"ok"');
    expect(await ask('sitefn.test', '/healthz')).toContain('"ok"');
  });

  it('finds its function by a host of its own, before our own paths and the routes of all hosts', async () => {
    await using platform = await startPlatform();
    const http = { path: '/*', host: 'shop.example.com' };
    await platform.run({ name: 'shop', triggers: [{ http }] }, (request, response) => response.end(`<${request.url}>`));
    const ask = (host: string, path: string): Promise<string> =>
      exchange(platform.port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect(await ask('shop.example.com', '/healthz?x')).toContain('</healthz?x>');
    expect(await ask('example.com', '/healthz')).toContain('"ok"');
    expect(await ask('example.com', '/')).not.toContain('</>');
  });

  it('is divided among revisions by weight', async () => {
    await using platform = await startPlatform();
    const one = await platform.deploy({ name: 'split' }, 1);
    const two = await platform.deploy({ name: 'split' }, 2);
    for (const revision of [one, two]) {
      const server = await platform.serve('split', (_request, response) => response.end(revision));
      await platform.route(server, revision);
    }
    const record = (await platform.store.get('function', 'split'))!.value;
    const traffic = [
      { revision: one, weight: 75 },
      { revision: two, weight: 25 },
    ];
    await platform.store.put('function', 'split', { ...record, traffic });
    const seen: string[] = [];
    for (let i = 0; i < 20; i++) seen.push(await (await fetch(`${platform.url}/function/split`)).text());
    expect(seen.filter((revision) => revision === two)).toHaveLength(5);
  });

  it('to our own pages is answered by us', async () => {
    await using platform = await startPlatform();
    expect(await (await fetch(`${platform.url}/`)).text()).toContain('gateway of fn');
    expect((await fetch(`${platform.url}/healthz`, { method: 'POST' })).headers.get('allow')).toBe('GET, HEAD');
    expect((await fetch(`${platform.url}/_fn/metrics`)).status).toBe(404);
    expect((await fetch(`${platform.url}/async/x`, { method: 'POST' })).status).toBe(404);
    const traced = await exchange(platform.port, 'TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    expect(traced).toMatch(/^HTTP\/1\.1 405 /);
  });
});
