/** The one place where it is decided whether a request may reach its function. It stands between the route and the slot: what
 *  is refused here has cost the function nothing, not even an instance. Requests of the platform itself (the job consumer on
 *  the internal socket) were let in when they came and do not pass again. */

import type { Redis } from 'ioredis';
import { type Clock, systemClock } from '../../core/clock.ts';
import { type ErrorCode, FnError, unreachable } from '../../core/errors.ts';
import type { FunctionName } from '../../core/ids.ts';
import type { Metrics } from '../../core/metrics.ts';
import { Snapshot } from '../../core/store/snapshot.ts';
import type { Change, Store } from '../../core/store/store.ts';
import type { Exchange } from '../connection.ts';
import type { RequestHead } from '../http/parse-request.ts';
import { Page } from '../page.ts';
import type { Call, Identity } from './call.ts';
import { type CorsPlan, corsFields, preflightReply } from './cors.ts';
import { Guard, tooLarge } from './guard.ts';
import { KeyRing } from './keys.ts';
import { takeTurn } from './rate.ts';
import { Turns } from './turns.ts';

export interface GateOptions {
  readonly store: Store;
  readonly metrics: Metrics;
  /** For limits that hold over all gateways; without it they hold for this one. */
  readonly redis?: Redis;
  readonly clock?: Clock;
  /** Hears of each error that is answered later than at once. */
  readonly failed: (error: FnError) => void;
  readonly onError?: (error: unknown) => void;
}

/** What refused a request, in metrics. */
const POLICY_OF: Partial<Record<ErrorCode, string>> = {
  'address.refused': 'allow',
  'body.too_large': 'body',
  'key.invalid': 'auth',
  'key.refused': 'auth',
  'key.required': 'auth',
  'origin.refused': 'cors',
  'rate.exceeded': 'rate',
};

/** Nobody sends one. */
const PREFLIGHT_BODY_MAX = 1024;

export class Gate implements AsyncDisposable {
  readonly #options: GateOptions;
  readonly #clock: Clock;
  readonly #keys = new KeyRing();
  readonly #turns: Turns;
  readonly #snapshot: Snapshot;
  /** Functions that have refusals counted. */
  readonly #counted = new Set<FunctionName>();

  private constructor(options: GateOptions, snapshot: Snapshot) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#turns = new Turns(options.redis, this.#clock);
    this.#snapshot = snapshot;
    for (const { name } of snapshot.values('key')) this.#changed({ kind: 'key', key: name });
  }

  static async open(options: GateOptions): Promise<Gate> {
    let gate: Gate | undefined;
    const snapshot = await Snapshot.open(options.store, ['key'], {
      onChange: (change) => gate && gate.#changed(change),
      ...(options.onError && { onError: options.onError }),
    });
    gate = new Gate(options, snapshot);
    return gate;
  }

  /** Goes on with a call that may pass, now or when that is known.
   *  @throws FnError why it may not, when that is known at once. */
  admit(call: Call): Exchange {
    const { client, head, name, plan } = call;
    if (plan.cors) {
      client.replyFields += corsFields(plan.cors, head.fields);
      client.decidesCors = true;
    }
    try {
      if (plan.allow && !plan.allow.has(client.address)) {
        throw new FnError('address.refused', `${name} takes no calls from ${client.address}`);
      }
      if (plan.bodyLimit !== undefined && head.contentLength > plan.bodyLimit) throw tooLarge(plan.bodyLimit);
      if (plan.rate === undefined && plan.bodyLimit === undefined) return call.open(passed(head, this.#identify(call)));
      return new Guard(call, {
        decide: () => this.#decide(call),
        refused: (error) => {
          this.#refused(call, error);
          // What is thrown while a body is read the connection reports.
          if (error.code !== 'body.too_large') this.#options.failed(error);
        },
      });
    } catch (error) {
      if (error instanceof FnError) this.#refused(call, error);
      throw error;
    }
  }

  /** Answers a browser that asks whether it may. Nobody is woken for that, and nobody has to show who they are. */
  preflight(call: Omit<Call, 'open'>, cors: CorsPlan): Exchange {
    const { client, head, requestId } = call;
    client.replyFields += corsFields(cors, head.fields);
    const failed = (error: FnError): void => {
      this.#refused(call, error);
      this.#options.failed(error);
    };
    return new Page(client, head, requestId, PREFLIGHT_BODY_MAX, () => preflightReply(cors, head.fields), failed);
  }

  /** Forgets what was counted for functions that are no more. */
  prune(exists: (name: FunctionName) => boolean): void {
    const refusals = this.#options.metrics.counter('fn_policy_refusals_total');
    for (const name of this.#counted) {
      if (exists(name)) continue;
      this.#counted.delete(name);
      for (const policy of new Set(Object.values(POLICY_OF))) refusals.remove({ function: name, policy });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#snapshot[Symbol.asyncDispose]();
  }

  /** A limit per address counts attempts, so that guessing is limited too; one per key counts what the key's owner did. */
  async #decide(call: Call): Promise<RequestHead> {
    const { rate } = call.plan;
    if (rate?.per === 'address') await takeTurn(call, rate, undefined, this.#turns);
    const identity = this.#identify(call);
    if (rate?.per === 'key') await takeTurn(call, rate, identity, this.#turns);
    return passed(call.head, identity);
  }

  /** Who calls; undefined when nobody asks. */
  #identify({ head, name, plan }: Call): Identity | undefined {
    switch (plan.auth) {
      case 'none':
        return undefined;
      case 'key':
        return this.#keys.identify(head.fields, name, this.#clock.now());
      default:
        return unreachable(plan.auth);
    }
  }

  #refused({ client, name }: Omit<Call, 'open'>, error: FnError): void {
    const policy = POLICY_OF[error.code];
    if (policy === undefined) return; // Not refused here: the function itself cannot be called.
    this.#counted.add(name);
    this.#options.metrics.counter('fn_policy_refusals_total').inc({ function: name, policy });
    // RFC 9110 11.6.1: a 401 says how to do better.
    if (error.status === 401) client.replyFields += `www-authenticate: Bearer realm="${name}"\r\n`;
  }

  #changed({ key }: Change): void {
    this.#keys.set(key, this.#snapshot.get('key', key));
  }
}

function passed(head: RequestHead, identity: Identity | undefined): RequestHead {
  return identity ? { ...head, fields: identity.fields } : head;
}
