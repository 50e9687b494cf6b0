/** The store in Redis. One hash per kind holds `key → version \n json`; one Lua step checks the version, writes, and appends
 *  to a change stream, so a watcher never hears of a write that did not happen, nor misses one that did while it listens. What
 *  is has a stream of its own: an instance's record changes three or four times, and only the controller wants to know. */

import type { Redis } from 'ioredis';
import type { Kind, Records } from '../records.ts';
import { sleep } from '../clock.ts';
import { type Change, ConflictError, type PutOptions, type Store, type Stored } from './store.ts';

const VERSION = 'fn:version';
const CHANGES: Readonly<Record<'wanted' | 'real', string>> = { wanted: 'fn:changes', real: 'fn:changes:real' };
const LATEST = 'fn:latest';
const hashOf = (kind: Kind): string => `fn:state:${kind}`;
const streamOf = (kind: Kind): string => (kind === 'instance' || kind === 'node' ? CHANGES.real : CHANGES.wanted);

/** Writes or deletes one record if it, and its kind, are at the expected version, and announces it: all or nothing.
 *  KEYS: hash, version counter, stream, last version of each kind. ARGV: kind, key, expected version or -1, json or '' to
 *  delete, expected last version of the kind or -1.
 *  Returns the new version, 0 when there was nothing to delete, or -<actual version> - 1 on a conflict. */
const WRITE = `
local current = redis.call('HGET', KEYS[1], ARGV[2])
local version = 0
if current then version = tonumber(string.match(current, '^(%d+)')) end
local expected = tonumber(ARGV[3])
if expected >= 0 and expected ~= version then return -version - 1 end
local latest = tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or '0')
local expectedLatest = tonumber(ARGV[5])
if expectedLatest >= 0 and expectedLatest ~= latest then return -latest - 1 end
if ARGV[4] == '' and not current then return 0 end
local nextVersion = redis.call('INCR', KEYS[2])
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[1], ARGV[2])
else
  redis.call('HSET', KEYS[1], ARGV[2], string.format('%d', nextVersion) .. '\\n' .. ARGV[4])
end
redis.call('HSET', KEYS[4], ARGV[1], string.format('%d', nextVersion))
redis.call('XADD', KEYS[3], 'MAXLEN', '~', '10000', '*', 'kind', ARGV[1], 'key', ARGV[2])
return nextVersion`;

function decode<K extends Kind>(key: string, text: string): Stored<Records[K]> {
  const newline = text.indexOf('\n');
  return { key, version: Number(text.slice(0, newline)), value: JSON.parse(text.slice(newline + 1)) as Records[K] };
}

export class RedisStore implements Store {
  readonly #redis: Redis;

  /** The caller keeps the connection and closes it. */
  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async get<K extends Kind>(kind: K, key: string): Promise<Stored<Records[K]> | undefined> {
    const text = await this.#redis.hget(hashOf(kind), key);
    return text === null ? undefined : decode<K>(key, text);
  }

  async list<K extends Kind>(kind: K): Promise<Stored<Records[K]>[]> {
    const all = await this.#redis.hgetall(hashOf(kind));
    return Object.entries(all).map(([key, text]) => decode<K>(key, text));
  }

  async latest(kind: Kind): Promise<number> {
    return Number((await this.#redis.hget(LATEST, kind)) ?? 0);
  }

  async put<K extends Kind>(kind: K, key: string, value: Records[K], options: PutOptions = {}): Promise<number> {
    return this.#write(kind, key, JSON.stringify(value), options);
  }

  async delete(kind: Kind, key: string, options: PutOptions = {}): Promise<boolean> {
    return (await this.#write(kind, key, '', options)) > 0;
  }

  async watch(kinds: readonly Kind[], onChange: (change: Change) => void): Promise<AsyncDisposable> {
    const reader = this.#redis.duplicate({
      maxRetriesPerRequest: null,
      enableOfflineQueue: true,
      commandTimeout: undefined,
    });
    reader.on('error', () => {}); // It reconnects; a Snapshot resyncs what was missed.
    const positions = new Map<string, string>();
    for (const stream of new Set(kinds.map(streamOf))) {
      const newest = await reader.xrevrange(stream, '+', '-', 'COUNT', 1);
      positions.set(stream, newest[0]?.[0] ?? '0-0');
    }
    const closed = new AbortController();
    const loop = async (): Promise<void> => {
      while (!closed.signal.aborted) {
        try {
          const after = [...positions.keys(), ...positions.values()];
          const reply = await reader.xread('COUNT', 1000, 'BLOCK', 5000, 'STREAMS', ...after);
          for (const [stream, entries] of reply ?? []) {
            for (const [id, fields] of entries) {
              positions.set(stream, id);
              const change = { kind: fields[1] as Kind, key: fields[3] ?? '' };
              if (!closed.signal.aborted && kinds.includes(change.kind)) onChange(change);
            }
          }
        } catch {
          await sleep(100); // The connection broke; ioredis is reconnecting.
        }
      }
    };
    const done = loop();
    return {
      async [Symbol.asyncDispose]() {
        closed.abort();
        reader.disconnect();
        await done;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #write(kind: Kind, key: string, json: string, { ifVersion = -1, ifLatest = -1 }: PutOptions): Promise<number> {
    const keys = [hashOf(kind), VERSION, streamOf(kind), LATEST];
    const reply = Number(
      await this.#redis.eval(WRITE, 4, ...keys, kind, key, String(ifVersion), json, String(ifLatest)),
    );
    if (reply < 0) {
      throw new ConflictError(
        `${kind} ${key} or its kind is at version ${-reply - 1}, not ${ifVersion} or ${ifLatest}`,
      );
    }
    return reply;
  }
}
