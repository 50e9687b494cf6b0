import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VirtualClock } from '../../core/clock.ts';
import { connectRedis, waitForRedis } from '../../core/redis.ts';
import { MemoryStore } from '../../core/store/memory.ts';
import { RedisStore } from '../../core/store/redis.ts';
import { Snapshot } from '../../core/store/snapshot.ts';
import type { Change, Store } from '../../core/store/store.ts';
import { eventually } from '../support/eventually.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { conformsToStore, record } from './store-conformance.ts';

let server: TestRedis;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server[Symbol.asyncDispose]());

async function openRedisStore(): Promise<Store> {
  const redis = connectRedis(server.config, 'failFast');
  await waitForRedis(redis, 5000);
  await redis.flushall();
  const store = new RedisStore(redis);
  return Object.assign(store, { [Symbol.asyncDispose]: async () => redis.disconnect() });
}

describe('the store in memory', () => {
  conformsToStore(async () => new MemoryStore());
});

describe('the store in Redis', () => {
  conformsToStore(openRedisStore);
});

describe('the store in Redis', () => {
  test('watching goes on after Redis was away', async () => {
    await using store = await openRedisStore();
    const keys: string[] = [];
    await using _ = await store.watch(['function'], ({ key }) => keys.push(key));
    await store.put('function', 'a', record('a'));
    await eventually(() => expect(keys).toContain('a'));
    await server.kill();
    await server.start();
    await eventually(async () => {
      await store.put('function', 'b', record('b'));
      expect(keys).toContain('b');
    });
  });

  test('a write while Redis is away is refused at once and never done later', async () => {
    await using store = await openRedisStore();
    await server.kill();
    await expect(store.put('function', 'a', record('a'))).rejects.toThrow(/writeable|closed|max retries per request/i);
    await server.start();
    await eventually(async () => expect(await store.list('function')).toEqual([]));
    expect(await store.get('function', 'a')).toBeUndefined();
  });
});

describe('a snapshot', () => {
  test('holds what was there, and follows', async () => {
    await using store = new MemoryStore();
    await store.put('function', 'a', record('a'));
    await using snapshot = await Snapshot.open(store, ['function']);
    expect(snapshot.get('function', 'a')?.latest).toBe(1);
    await store.put('function', 'a', record('a', 2));
    await store.put('function', 'b', record('b'));
    await eventually(() => {
      expect(snapshot.get('function', 'a')?.latest).toBe(2);
      expect(snapshot.values('function')).toHaveLength(2);
    });
    await store.delete('function', 'a');
    await eventually(() => expect(snapshot.get('function', 'a')).toBeUndefined());
  });

  test('tells of each change once, after it can be read', async () => {
    await using store = new MemoryStore();
    const seen: [Change, number | undefined][] = [];
    await using snapshot = await Snapshot.open(store, ['function'], {
      onChange: (change) => seen.push([change, snapshot.get('function', change.key)?.latest]),
    });
    await store.put('function', 'a', record('a', 7));
    await eventually(() => expect(seen).toHaveLength(1));
    await snapshot.resync();
    expect(seen).toEqual([[{ kind: 'function', key: 'a' }, 7]]);
  });

  test('finds within a few seconds what no one told it of', async () => {
    await using store = new Silent();
    const clock = new VirtualClock();
    await using snapshot = await Snapshot.open(store, ['function'], { clock });
    await store.put('function', 'a', record('a'));
    expect(snapshot.get('function', 'a')).toBeUndefined();
    clock.advance(5000);
    await eventually(() => expect(snapshot.get('function', 'a')).toBeDefined());
    await store.delete('function', 'a');
    await eventually(() => {
      clock.advance(5000);
      expect(snapshot.get('function', 'a')).toBeUndefined();
    });
  });

  test('lists nothing again while nothing was written', async () => {
    await using store = new Silent();
    await store.put('function', 'a', record('a'));
    const clock = new VirtualClock();
    await using snapshot = await Snapshot.open(store, ['function'], { clock });
    const before = store.lists;
    await snapshot.resync();
    await store.put('revision', 'other', {} as never);
    await snapshot.resync();
    expect(store.lists).toBe(before);
    await store.put('function', 'b', record('b'));
    await snapshot.resync();
    expect(store.lists).toBe(before + 1);
  });

  test('keeps what it knew while the store is away, and goes on asking', async () => {
    await using store = new Silent();
    await store.put('function', 'a', record('a'));
    const clock = new VirtualClock();
    let errors = 0;
    await using snapshot = await Snapshot.open(store, ['function'], { clock, onError: () => errors++ });
    store.away = true;
    clock.advance(5000);
    await eventually(() => expect(errors).toBe(1));
    expect(snapshot.get('function', 'a')).toBeDefined();
    store.away = false;
    await store.put('function', 'a', record('a', 2));
    await eventually(() => {
      clock.advance(5000);
      expect(snapshot.get('function', 'a')?.latest).toBe(2);
    });
  });
});

/** A store whose change stream is broken, and that can be away. */
class Silent extends MemoryStore {
  away = false;
  lists = 0;

  override async watch(): Promise<AsyncDisposable> {
    return { async [Symbol.asyncDispose]() {} };
  }

  override latest: MemoryStore['latest'] = (kind) =>
    this.away ? Promise.reject(new Error('away')) : super.latest(kind);

  override list: MemoryStore['list'] = (kind) => {
    this.lists++;
    return this.away ? Promise.reject(new Error('away')) : super.list(kind);
  };
}
