/** The one place where it is decided whether a request may reach its function. It stands between the route and the slot: what
 *  is refused here has cost the function nothing, not even an instance. Requests of the platform itself (the job consumer on
 *  the internal socket) were let in when they came and do not pass again. */

import { type Clock, systemClock } from '../../core/clock.ts';
import { type ErrorCode, FnError } from '../../core/errors.ts';
import type { FunctionName } from '../../core/ids.ts';
import type { Metrics } from '../../core/metrics.ts';
import { Snapshot } from '../../core/store/snapshot.ts';
import type { Change, Store } from '../../core/store/store.ts';
import type { Exchange } from '../connection.ts';
import type { Call } from './call.ts';
import { KeyRing } from './keys.ts';

export interface GateOptions {
  readonly store: Store;
  readonly metrics: Metrics;
  readonly clock?: Clock;
  readonly onError?: (error: unknown) => void;
}

/** What refused a request, in metrics. */
const POLICY_OF: Partial<Record<ErrorCode, string>> = {
  'key.invalid': 'auth',
  'key.refused': 'auth',
  'key.required': 'auth',
};

export class Gate implements AsyncDisposable {
  readonly #options: GateOptions;
  readonly #clock: Clock;
  readonly #keys = new KeyRing();
  readonly #snapshot: Snapshot;
  /** Functions that have refusals counted. */
  readonly #counted = new Set<FunctionName>();

  private constructor(options: GateOptions, snapshot: Snapshot) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
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

  /** Goes on with a call that may pass.
   *  @throws FnError why it may not. */
  admit(call: Call): Exchange {
    try {
      const identity = this.#keys.identify(call.head.fields, call.name, this.#clock.now());
      return call.open({ ...call.head, fields: identity.fields });
    } catch (error) {
      if (error instanceof FnError) this.#refused(call, error);
      throw error;
    }
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

  #refused({ client, name }: Call, error: FnError): void {
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
