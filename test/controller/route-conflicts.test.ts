import { describe, expect, it } from 'vitest';
import { checkRoutes, routeOwners } from '../../controller/route-conflicts.ts';
import { FnError } from '../../core/errors.ts';
import type { FunctionRecord, RevisionRecord } from '../../core/records.ts';
import { type FunctionSpec, specSchema } from '../../core/spec.ts';

type Http = { path: string; host?: string; methods?: ['GET' | 'POST'] };

function spec(name: string, ...http: Http[]): FunctionSpec {
  return specSchema.parse({ name, triggers: http.map((one) => ({ http: one })) });
}

function refusal(asking: FunctionSpec, owner: FunctionSpec, domain = 'localhost'): string | undefined {
  const http = owner.triggers.flatMap((one) => ('http' in one ? [one.http] : []));
  try {
    checkRoutes(asking, [{ name: owner.name, http }], domain);
    return undefined;
  } catch (error) {
    if (error instanceof FnError && error.code === 'route.conflict') return error.message;
    throw error;
  }
}

describe('a route', () => {
  it('is taken when host, path and a method are the same', () => {
    expect(refusal(spec('b', { path: '/x' }), spec('a', { path: '/x' }))).toBe(
      'b wants /x (every method), which is a route of a',
    );
    expect(refusal(spec('b', { path: '/x', methods: ['GET'] }), spec('a', { path: '/x' }))).toContain('(GET)');
    expect(refusal(spec('b', { path: '/x', methods: ['GET'] }), spec('a', { path: '/x', methods: ['POST'] }))).toBe(
      undefined,
    );
  });

  it('is free when only its pattern overlaps: the longest pattern wins', () => {
    expect(refusal(spec('b', { path: '/x/*' }), spec('a', { path: '/x/y' }))).toBeUndefined();
    expect(refusal(spec('b', { path: '/x/*' }), spec('a', { path: '/x*' }))).toBeUndefined();
  });

  it('of one host is not that of another, nor of all hosts', () => {
    const a = spec('a', { path: '/x', host: 'one.example.com' });
    expect(refusal(spec('b', { path: '/x', host: 'two.example.com' }), a)).toBeUndefined();
    expect(refusal(spec('b', { path: '/x' }), a)).toBeUndefined();
    expect(refusal(spec('b', { path: '/x', host: 'one.example.com' }), a)).toContain('one.example.com/x');
  });

  it('may be the same as another of the function itself', () => {
    expect(refusal(spec('a', { path: '/x' }), spec('a', { path: '/x' }))).toBeUndefined();
  });

  it("is never the gateway's own, nor a host among those of the functions", () => {
    const nobody = spec('a');
    expect(refusal(spec('b', { path: '/healthz' }), nobody)).toContain('the gateway answers itself');
    expect(refusal(spec('b', { path: '/function/a/*' }), nobody)).toContain('the gateway answers itself');
    expect(refusal(spec('b', { path: '/healthz', host: 'b.example.com' }), nobody)).toBeUndefined();
    expect(refusal(spec('b', { path: '/*' }), nobody)).toBeUndefined();
    expect(refusal(spec('b', { path: '/', host: 'a.fn.test' }), nobody, 'fn.test')).toContain('a.fn.test');
    expect(refusal(spec('b', { path: '/', host: 'fn.test' }), nobody, 'FN.test')).toContain('domain of all functions');
    expect(refusal(spec('b', { path: '/', host: 'afn.test' }), nobody, 'fn.test')).toBeUndefined();
  });

  it('belongs to what gets traffic or is about to, and to nobody once the function is being removed', () => {
    const revision = (id: string, path: string) => ({ id, spec: spec('a', { path }) }) as RevisionRecord;
    const revisions = [revision('a-1', '/old'), revision('a-2', '/live'), revision('a-3', '/next')];
    const traffic = [{ revision: revisions[1]!.id, weight: 100 }];
    const fn = { name: 'a', traffic, candidate: { revision: revisions[2]!.id, since: 0 } } as unknown as FunctionRecord;
    const paths = (record: FunctionRecord): string[] =>
      routeOwners([record], revisions).flatMap(({ http }) => http.map(({ path }) => path));
    expect(paths(fn)).toEqual(['/live', '/next']);
    expect(paths({ ...fn, deletingSince: 1 })).toEqual([]);
  });
});
