/** What the controller decided and why, newest first, at most a hundred entries a function; and the count it wants, for
 *  `fn ls`. An entry is written when something is done or the wanted count changes, never for looking and finding all well. */

import type { Redis } from 'ioredis';
import type { FunctionName } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import { decisionsKey, DESIRED_HASH } from '../core/queues.ts';
import type { DecisionRecord } from '../core/records.ts';
import type { Millis } from '../core/units.ts';
import type { ScaleDecision } from './autoscale.ts';
import { type Action, describe } from './plan.ts';

const KEPT = 100;
/** The same actions again within this time are not written down again: they are under way. */
const REPEATED_WITHIN: Millis = 10_000;

/** What was last written of a function. Losing it costs a line. */
interface Written {
  readonly desired: number;
  readonly text?: string;
  readonly at?: Millis;
}

export class Diary {
  readonly #redis: Redis;
  readonly #log: Log;
  readonly #written = new Map<FunctionName, Written>();

  constructor(redis: Redis, log: Log) {
    this.#redis = redis;
    this.#log = log;
  }

  /** @param decision undefined while no revision has traffic. */
  async write(
    name: FunctionName,
    decision: ScaleDecision | undefined,
    actions: readonly Action[],
    now: Millis,
  ): Promise<void> {
    const desired = decision?.desired ?? 0;
    const told = actions.flatMap((action) => describe(action) ?? []);
    const text = told.join('\n');
    const before = this.#written.get(name) ?? { desired: await readDesiredOf(this.#redis, name) };
    this.#written.set(name, before);
    const isRepeated = before.text === text && now - (before.at ?? 0) < REPEATED_WITHIN;
    if (before.desired === desired && (told.length === 0 || isRepeated)) return;
    const { rule, reason } = ruleOf(actions) ?? decision ?? { rule: 'none', reason: 'no revision has traffic' };
    const inputs = decision?.inputs ?? {};
    await writeDecision(this.#redis, { at: now, function: name, rule, reason, inputs, actions: told }, desired);
    this.#written.set(name, { desired, text, at: now });
    this.#log.info({ fn: name, rule, desired, actions: told }, 'decided');
  }

  forget(name: FunctionName): void {
    this.#written.delete(name);
  }
}

/** What happens to revisions and nodes outranks the count. */
function ruleOf(actions: readonly Action[]): { rule: string; reason: string } | undefined {
  for (const action of actions) {
    if (action.type === 'promote') return { rule: 'promote', reason: 'an instance of the new revision is ready' };
    if (action.type === 'fail') return { rule: 'candidate-failed', reason: action.problem.detail };
    if (action.type === 'try') return { rule: 'candidate', reason: 'a new revision has to prove itself' };
    if (action.type === 'lost') return { rule: 'node-loss', reason: `node ${action.node} is gone` };
    if (action.type === 'stop' && action.reason === 'replaced') {
      return { rule: 'drain-old', reason: 'the revision has no traffic any more' };
    }
    if (action.type === 'stop' && action.reason === 'removed') {
      return { rule: 'remove', reason: 'the function is being removed' };
    }
  }
  return undefined;
}

async function writeDecision(redis: Redis, decision: DecisionRecord, desired: number): Promise<void> {
  const key = decisionsKey(decision.function);
  const replies = await redis
    .multi()
    .lpush(key, JSON.stringify(decision))
    .ltrim(key, 0, KEPT - 1)
    .hset(DESIRED_HASH, decision.function, desired)
    .exec();
  for (const [error] of replies ?? []) if (error) throw error;
}

export async function readDecisions(redis: Redis, name: FunctionName, limit = KEPT): Promise<DecisionRecord[]> {
  const texts = await redis.lrange(decisionsKey(name), 0, limit - 1);
  return texts.map((text) => JSON.parse(text) as DecisionRecord);
}

/** Wanted counts by function name. */
export async function readDesired(redis: Redis): Promise<Map<string, number>> {
  const all = await redis.hgetall(DESIRED_HASH);
  return new Map(Object.entries(all).map(([name, count]) => [name, Number(count)]));
}

export async function readDesiredOf(redis: Redis, name: FunctionName): Promise<number> {
  return Number((await redis.hget(DESIRED_HASH, name)) ?? 0);
}

export async function forgetDecisions(redis: Redis, name: FunctionName): Promise<void> {
  await redis.multi().del(decisionsKey(name)).hdel(DESIRED_HASH, name).exec();
}
