/** What every store must do. Each implementation's test calls this with a way to make an empty one. */

import { describe, expect, test } from 'vitest';
import { type FunctionName, revisionId } from '../../core/ids.ts';
import type { FunctionRecord, Kind, RevisionRecord } from '../../core/records.ts';
import { type Change, ConflictError, type Store, update } from '../../core/store/store.ts';
import { eventually } from '../support/eventually.ts';

export function record(name: string, latest = 1): FunctionRecord {
  return { name: name as FunctionName, traffic: [], latest, createdAt: 1, updatedAt: 1 };
}

export function conformsToStore(open: () => Promise<Store>): void {
  describe('records', () => {
    test('what is put is what is got', async () => {
      await using store = await open();
      const value = { ...record('a'), traffic: [{ revision: revisionId('a' as FunctionName, 1), weight: 100 }] };
      const version = await store.put('function', 'a', value);
      expect(await store.get('function', 'a')).toEqual({ key: 'a', version, value });
    });

    test('a key that was never put is undefined', async () => {
      await using store = await open();
      expect(await store.get('function', 'a')).toBeUndefined();
      expect(await store.list('function')).toEqual([]);
    });

    test('kinds do not share keys', async () => {
      await using store = await open();
      await store.put('function', 'a', record('a'));
      expect(await store.get('revision', 'a')).toBeUndefined();
      expect(await store.list('instance')).toEqual([]);
    });

    test('a list holds every record of the kind with its version', async () => {
      await using store = await open();
      const a = await store.put('function', 'a', record('a'));
      const b = await store.put('function', 'b', record('b'));
      const found = await store.list('function');
      expect(found.toSorted((x, y) => x.key.localeCompare(y.key)).map(({ key, version }) => [key, version])).toEqual([
        ['a', a],
        ['b', b],
      ]);
    });

    test('the latest version of a kind changes with its records, and only with them', async () => {
      await using store = await open();
      expect(await store.latest('function')).toBe(0);
      const version = await store.put('function', 'a', record('a'));
      expect(await store.latest('function')).toBe(version);
      expect(await store.latest('revision')).toBe(0);
      await store.put('function', 'a', record('a', 2), { ifVersion: 99 }).catch(() => 0);
      expect(await store.latest('function')).toBe(version);
      await store.delete('function', 'a');
      expect(await store.latest('function')).toBeGreaterThan(version);
    });

    test('a write may demand that nothing of its kind was written since', async () => {
      await using store = await open();
      const read = await store.latest('function');
      const a = await store.put('function', 'a', record('a'), { ifLatest: read });
      await expect(store.put('function', 'b', record('b'), { ifLatest: read })).rejects.toThrow(ConflictError);
      expect(await store.get('function', 'b')).toBeUndefined();
      await store.put('revision', 'other', { id: 'other' } as unknown as RevisionRecord);
      await store.put('function', 'b', record('b'), { ifLatest: a });
      await store.delete('function', 'a');
      await expect(store.put('function', 'b', record('b'), { ifLatest: a })).rejects.toThrow(ConflictError);
    });

    test('text survives, whatever is in it', async () => {
      await using store = await open();
      const name = 'line\nbreak "quote" \\ ü 💥 \u0000' as FunctionName;
      await store.put('function', name, record(name));
      expect((await store.get('function', name))?.value.name).toBe(name);
    });

    test('a caller that changes what it put or got changes nothing stored', async () => {
      await using store = await open();
      const value = { ...record('a') };
      await store.put('function', 'a', value);
      Object.assign(value, { latest: 99 });
      const got = await store.get('function', 'a');
      Object.assign(got?.value ?? {}, { latest: 99 });
      expect((await store.get('function', 'a'))?.value.latest).toBe(1);
    });

    test('what is deleted is gone, and deleting again says that nothing was there', async () => {
      await using store = await open();
      await store.put('function', 'a', record('a'));
      expect(await store.delete('function', 'a')).toBe(true);
      expect(await store.get('function', 'a')).toBeUndefined();
      expect(await store.delete('function', 'a')).toBe(false);
    });
  });

  describe('versions', () => {
    test('grow with every write to any record, also over a deletion', async () => {
      await using store = await open();
      const versions = [await store.put('function', 'a', record('a')), await store.put('function', 'b', record('b'))];
      await store.delete('function', 'a');
      versions.push(await store.put('function', 'a', record('a')));
      versions.push(await store.put('function', 'a', record('a')));
      expect(versions).toEqual(versions.toSorted((x, y) => x - y));
      expect(new Set(versions).size).toBe(4);
    });

    test('a write that demands the version it read succeeds once', async () => {
      await using store = await open();
      const version = await store.put('function', 'a', record('a'));
      await store.put('function', 'a', record('a', 2), { ifVersion: version });
      await expect(store.put('function', 'a', record('a', 3), { ifVersion: version })).rejects.toThrow(ConflictError);
      expect((await store.get('function', 'a'))?.value.latest).toBe(2);
    });

    test('version 0 means that it must not exist', async () => {
      await using store = await open();
      await store.put('function', 'a', record('a'), { ifVersion: 0 });
      await expect(store.put('function', 'a', record('a', 2), { ifVersion: 0 })).rejects.toThrow(ConflictError);
      await store.delete('function', 'a');
      await store.put('function', 'a', record('a', 3), { ifVersion: 0 });
      expect((await store.get('function', 'a'))?.value.latest).toBe(3);
    });

    test('a record made anew cannot be mistaken for the old one', async () => {
      await using store = await open();
      const old = await store.put('function', 'a', record('a'));
      await store.delete('function', 'a');
      await store.put('function', 'a', record('a'));
      await expect(store.put('function', 'a', record('a'), { ifVersion: old })).rejects.toThrow(ConflictError);
    });

    test('a deletion may demand a version too', async () => {
      await using store = await open();
      const old = await store.put('function', 'a', record('a'));
      const version = await store.put('function', 'a', record('a', 2));
      await expect(store.delete('function', 'a', { ifVersion: old })).rejects.toThrow(ConflictError);
      expect(await store.delete('function', 'a', { ifVersion: version })).toBe(true);
      await expect(store.delete('function', 'a', { ifVersion: version })).rejects.toThrow(ConflictError);
    });

    test('of many writers at once each update counts', async () => {
      await using store = await open();
      await store.put('function', 'a', record('a', 0));
      const bump = (): Promise<unknown> =>
        update(store, 'function', 'a', (current) => current && { ...current, latest: current.latest + 1 });
      await Promise.all(Array.from({ length: 8 }, bump));
      expect((await store.get('function', 'a'))?.value.latest).toBe(8);
    });

    test('an update that changes nothing writes nothing', async () => {
      await using store = await open();
      const version = await store.put('function', 'a', record('a'));
      expect(await update(store, 'function', 'a', () => undefined)).toEqual(record('a'));
      expect((await store.get('function', 'a'))?.version).toBe(version);
      expect(await update(store, 'function', 'b', () => undefined)).toBeUndefined();
    });
  });

  describe('watching', () => {
    test('tells of each change after the start, in order, and of none before', async () => {
      await using store = await open();
      await store.put('function', 'before', record('before'));
      const changes: Change[] = [];
      await using _ = await store.watch(['function'], (change) => changes.push(change));
      await store.put('function', 'a', record('a'));
      await store.put('function', 'a', record('a', 2));
      await store.delete('function', 'a');
      await eventually(() =>
        expect(changes).toEqual([
          { kind: 'function', key: 'a' },
          { kind: 'function', key: 'a' },
          { kind: 'function', key: 'a' },
        ]),
      );
    });

    test('a refused write and a deletion of nothing are no changes', async () => {
      await using store = await open();
      const changes: Change[] = [];
      await using _ = await store.watch(['function'], (change) => changes.push(change));
      await store.put('function', 'a', record('a'), { ifVersion: 7 }).catch(() => 0);
      await store.delete('function', 'b');
      await store.put('function', 'last', record('last'));
      await eventually(() => expect(changes).toEqual([{ kind: 'function', key: 'last' }]));
    });

    test('a watcher hears of the kinds it asked for, be they wanted or real', async () => {
      await using store = await open();
      const [some, one]: [Kind[], Kind[]] = [[], []];
      await using _ = await store.watch(['revision', 'instance'], ({ kind }) => some.push(kind));
      await using __ = await store.watch(['node'], ({ kind }) => one.push(kind));
      const put = (kind: Kind): Promise<number> => store.put(kind, 'a', { id: 'a' } as never);
      for (const kind of ['function', 'revision', 'instance', 'node'] as const) await put(kind);
      await eventually(() => {
        expect(some.toSorted()).toEqual(['instance', 'revision']);
        expect(one).toEqual(['node']);
      });
    });

    test('every watcher hears, until it stops', async () => {
      await using store = await open();
      const [first, second]: [string[], string[]] = [[], []];
      const stop = await store.watch(['function'], ({ key }) => first.push(key));
      await using _ = await store.watch(['function'], ({ key }) => second.push(key));
      await store.put('function', 'a', record('a'));
      await eventually(() => expect([first, second]).toEqual([['a'], ['a']]));
      await stop[Symbol.asyncDispose]();
      await store.put('function', 'b', record('b'));
      await eventually(() => expect(second).toEqual(['a', 'b']));
      expect(first).toEqual(['a']);
    });
  });
}
