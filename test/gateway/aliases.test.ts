import { describe, expect, it } from 'vitest';
import type { RevisionId } from '../../core/ids.ts';
import type { Alias } from '../../core/records.ts';
import type { FunctionSpecInput } from '../../core/spec.ts';
import { eventually } from '../support/eventually.ts';
import { type Platform, startPlatform } from './support/platform.ts';
import { exchange } from './support/wire.ts';

/** Two revisions that say which they are; all traffic goes to the second. */
async function twoRevisions(platform: Platform, spec: FunctionSpecInput): Promise<readonly [RevisionId, RevisionId]> {
  const ids = [await platform.deploy(spec, 1), await platform.deploy(spec, 2)] as const;
  for (const id of ids) {
    const server = await platform.serve(spec.name, (request, response) => response.end(`${id} ${request.url}`));
    await platform.route(server, id);
  }
  return ids;
}

async function setAliases(platform: Platform, name: string, aliases: Record<string, Alias>): Promise<void> {
  const record = (await platform.store.get('function', name))!.value;
  await platform.store.put('function', name, { ...record, aliases });
}

async function ask(platform: Platform, callee: string, init: RequestInit = {}): Promise<string> {
  return await (await fetch(`${platform.url}/function/${callee}`, init)).text();
}

describe('an alias', () => {
  it('leads to its revision, by path and by host, whatever has the traffic', async () => {
    await using platform = await startPlatform({ FN_DOMAIN: 'fn.test' });
    const [one, two] = await twoRevisions(platform, { name: 'aimed' });
    await setAliases(platform, 'aimed', { old: { targets: [{ revision: one, weight: 100 }] } });
    await eventually(async () => expect(await ask(platform, 'aimed@old/x?y')).toBe(`${one} /x?y`));
    expect(await ask(platform, 'aimed/x')).toBe(`${two} /x`);
    const reply = await exchange(
      platform.port,
      'GET /h HTTP/1.1\r\nHost: old.aimed.fn.test\r\nConnection: close\r\n\r\n',
    );
    expect(reply).toContain(`${one} /h`);
  });

  it('divides by weight, and follows when it is pointed elsewhere', async () => {
    await using platform = await startPlatform();
    const [one, two] = await twoRevisions(platform, { name: 'moved' });
    const targets = (weight: number) => [
      { revision: one, weight },
      { revision: two, weight: 100 - weight },
    ];
    await setAliases(platform, 'moved', { live: { targets: targets(75) } });
    await eventually(async () => expect(await ask(platform, 'moved@live')).toMatch(/^moved-/));
    const seen: string[] = [];
    for (let i = 0; i < 20; i++) seen.push(await ask(platform, 'moved@live'));
    expect(seen.filter((text) => text.startsWith(two))).toHaveLength(5);
    await setAliases(platform, 'moved', { live: { targets: targets(0) } });
    await eventually(async () => {
      for (let i = 0; i < 4; i++) expect(await ask(platform, 'moved@live')).toContain(two);
    });
  });

  it('keeps who sends the same key at one revision', async () => {
    await using platform = await startPlatform();
    const [one, two] = await twoRevisions(platform, { name: 'kept' });
    const targets = [
      { revision: one, weight: 50 },
      { revision: two, weight: 50 },
    ];
    await setAliases(platform, 'kept', { live: { targets, sticky: 'cookie:sid' } });
    await eventually(async () => expect(await ask(platform, 'kept@live')).toMatch(/^kept-/));
    const chosen = new Set<string>();
    for (let user = 0; user < 20; user++) {
      const headers = { cookie: `sid=user-${user}` };
      const replies = new Set<string>();
      for (let i = 0; i < 3; i++) replies.add(await ask(platform, 'kept@live', { headers }));
      expect(replies.size).toBe(1);
      for (const reply of replies) chosen.add(reply);
    }
    expect(chosen.size).toBe(2);
  });

  it('starts an instance of its revision when somebody calls', async () => {
    await using platform = await startPlatform();
    const revision = await platform.deploy({ name: 'asleep' }, 1);
    await platform.deploy({ name: 'asleep' }, 2);
    await setAliases(platform, 'asleep', { old: { targets: [{ revision, weight: 100 }] } });
    const server = await platform.serve('asleep', (_request, response) => response.end('awake'));
    platform.worker.acquire = () => platform.routable(server, revision);
    await eventually(async () => expect(await ask(platform, 'asleep@old')).toBe('awake'));
    expect(platform.calls.find(({ call }) => call === 'acquire')?.in).toMatchObject({ revision });
  });

  it('that does not exist is 404, and says so', async () => {
    await using platform = await startPlatform();
    await twoRevisions(platform, { name: 'plain' });
    for (const callee of ['plain@live', 'plain@1', 'plain@', 'plain@2@2']) {
      const reply = await fetch(`${platform.url}/function/${callee}`);
      expect([callee, reply.status, reply.headers.get('x-fn-error')]).toEqual([callee, 404, 'alias.not_found']);
    }
    const reply = await fetch(`${platform.url}/function/nobody@live`);
    expect(reply.headers.get('x-fn-error')).toBe('function.not_found');
  });

  it('lets nobody around the policies of the function', async () => {
    await using platform = await startPlatform();
    const open = await platform.deploy({ name: 'guarded' }, 1);
    await platform.deploy({ name: 'guarded', auth: 'key' }, 2);
    await setAliases(platform, 'guarded', { old: { targets: [{ revision: open, weight: 100 }] } });
    await eventually(async () => {
      const reply = await fetch(`${platform.url}/function/guarded@old`);
      expect(reply.headers.get('x-fn-error')).toBe('key.required');
    });
    expect((await fetch(`${platform.url}/function/guarded@1`)).status).toBe(401);
  });
});

describe('a revision', () => {
  it('can be called by its number while it has traffic or an alias', async () => {
    await using platform = await startPlatform();
    const [one, two] = await twoRevisions(platform, { name: 'counted' });
    expect(await ask(platform, 'counted@2')).toContain(two);
    await setAliases(platform, 'counted', { old: { targets: [{ revision: one, weight: 100 }] } });
    await eventually(async () => expect(await ask(platform, 'counted@1')).toContain(one));
    await setAliases(platform, 'counted', {});
    await eventually(async () => expect((await fetch(`${platform.url}/function/counted@1`)).status).toBe(404));
  });
});

describe('traffic that is divided', () => {
  it('is divided by the key that fn.yaml names', async () => {
    await using platform = await startPlatform();
    const [one, two] = await twoRevisions(platform, { name: 'divided', sticky: 'header:x-user' });
    const record = (await platform.store.get('function', 'divided'))!.value;
    const traffic = [one, two].map((revision) => ({ revision, weight: 50 }));
    await platform.store.put('function', 'divided', { ...record, traffic });
    const of = async (user: string): Promise<string> => await ask(platform, 'divided', { headers: { 'x-user': user } });
    await eventually(async () => {
      const all = await Promise.all(Array.from({ length: 12 }, (_, n) => of(`u${n}`)));
      expect(new Set(all).size).toBe(2);
    });
    const first = await of('ada');
    for (let i = 0; i < 5; i++) expect(await of('ada')).toBe(first);
  });
});
