/** The one place where it is decided whether a request may reach its function. It stands between the route and the slot: what
 *  is refused here has cost the function nothing, not even an instance. Requests of the platform itself (the job consumer on
 *  the internal socket) were let in when they came and do not pass again. */

import type { Redis } from 'ioredis';
import { type Clock, systemClock } from '../../core/clock.ts';
import { type ErrorCode, FnError } from '../../core/errors.ts';
import type { FunctionName } from '../../core/ids.ts';
import type { Metrics } from '../../core/metrics.ts';
import type { AuthPolicy } from '../../core/policies.ts';
import type { SecretBox } from '../../core/secrets.ts';
import { Vault } from '../../core/vault.ts';
import { Snapshot } from '../../core/store/snapshot.ts';
import type { Change, Store } from '../../core/store/store.ts';
import type { Bytes } from '../../core/units.ts';
import type { Exchange } from '../exchange.ts';
import type { RequestHead } from '../http/parse-request.ts';
import { Page } from '../page.ts';
import type { Call, Identity } from './call.ts';
import { type CorsPlan, corsFields, preflightReply } from './cors.ts';
import { withoutFields } from './fields.ts';
import { BodyStore, Guard, tooLarge } from './guard.ts';
import { KeyRing } from './keys.ts';
import { takeTurn } from './rate.ts';
import { Tokens } from './tokens.ts';
import { Turns } from './turns.ts';
import { checkSignature, claimedIn } from './webhook.ts';

export interface GateOptions {
  readonly store: Store;
  readonly metrics: Metrics;
  /** For limits that hold over all gateways; without it they hold for this one. */
  readonly redis?: Redis;
  /** Opens the secrets of webhooks; without it those are refused. */
  readonly secrets?: SecretBox;
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
  'secret.missing': 'auth',
  'secret.unreadable': 'auth',
  'signature.invalid': 'auth',
  'token.invalid': 'auth',
  'token.required': 'auth',
  'token.unverifiable': 'auth',
};

/** A body that is signed is held whole: so much of one, more only if `bodyLimit` says so, and so much of all together. */
const SIGNED_BODY_DEFAULT: Bytes = 2 ** 20;
const SIGNED_BODY_MAX: Bytes = 32 * 2 ** 20;
const BODIES_MAX: Bytes = 128 * 2 ** 20;
/** Nobody sends one. */
const PREFLIGHT_BODY_MAX = 1024;

export class Gate implements AsyncDisposable {
  readonly #options: GateOptions;
  readonly #clock: Clock;
  readonly #keys = new KeyRing();
  readonly #turns: Turns;
  readonly #tokens: Tokens;
  readonly #vault: Vault;
  readonly #bodies = new BodyStore(BODIES_MAX);
  readonly #snapshot: Snapshot;
  /** Functions that have refusals counted. */
  readonly #counted = new Set<FunctionName>();

  private constructor(options: GateOptions, snapshot: Snapshot) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#turns = new Turns(options.redis, this.#clock);
    this.#tokens = new Tokens(this.#clock);
    this.#vault = new Vault(options.secrets, (name) => snapshot.get('secret', name));
    this.#snapshot = snapshot;
    for (const { name } of snapshot.values('key')) this.#changed({ kind: 'key', key: name });
  }

  static async open(options: GateOptions): Promise<Gate> {
    let gate: Gate | undefined;
    const snapshot = await Snapshot.open(options.store, ['key', 'secret'], {
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
      if (plan.allow && !plan.allow.has(client.origin.address)) {
        throw new FnError('address.refused', `${name} takes no calls from ${client.origin.address}`);
      }
      const webhook = typeof plan.auth === 'object' && 'webhook' in plan.auth ? plan.auth.webhook : undefined;
      const limit = webhook ? Math.min(plan.bodyLimit ?? SIGNED_BODY_DEFAULT, SIGNED_BODY_MAX) : plan.bodyLimit;
      if (limit !== undefined && head.contentLength > limit) throw tooLarge(limit);
      // Unless attempts are to be counted, which takes longer.
      if (webhook && plan.rate?.per !== 'address') claimedIn(webhook, head.fields, this.#clock.now());
      if (plan.rate === undefined && limit === undefined && typeof plan.auth === 'string') {
        return call.open(passed(head, this.#identify(call)));
      }
      return new Guard(call, {
        decide: (body) => this.#decide(call, body),
        limit: limit ?? Infinity,
        store: webhook ? this.#bodies : undefined,
        refused: (error) => {
          this.#refused(call, error);
          // What is thrown while a body is read the connection reports.
          if (error.code !== 'body.too_large' && error.code !== 'capacity.queue_full') this.#options.failed(error);
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
  async #decide(call: Call, body: readonly Buffer[]): Promise<RequestHead> {
    const { rate } = call.plan;
    if (rate?.per === 'address') await takeTurn(call, rate, undefined, this.#turns);
    const identity =
      typeof call.plan.auth === 'string' ? this.#identify(call) : await this.#verify(call, call.plan.auth, body);
    if (rate?.per === 'key') await takeTurn(call, rate, identity, this.#turns);
    return passed(call.head, identity);
  }

  /** Who calls, where that is known at once; undefined when nobody asks. */
  #identify({ head, name, plan }: Call): Identity | undefined {
    return plan.auth === 'key' ? this.#keys.identify(head.fields, name, this.#clock.now()) : undefined;
  }

  /** Who calls, by what takes longer to find out. */
  async #verify({ head }: Call, auth: Exclude<AuthPolicy, string>, body: readonly Buffer[]): Promise<Identity> {
    if ('jwt' in auth) return this.#tokens.identify(auth.jwt, head.fields);
    const { secret } = auth.webhook;
    checkSignature(auth.webhook, head.fields, body, () => this.#vault.open(secret), this.#clock.now());
    // The sender was told to go on, if it asked; the function need not.
    return { caller: `webhook:${secret}`, fields: withoutFields(head.fields, ['expect']) };
  }

  #refused({ client, name }: Omit<Call, 'open'>, error: FnError): void {
    const policy = POLICY_OF[error.code];
    if (policy === undefined) return; // Not refused here: the function itself cannot be called.
    this.#counted.add(name);
    this.#options.metrics.counter('fn_policy_refusals_total').inc({ function: name, policy });
    // RFC 9110 11.6.1: a 401 says how to do better.
    const scheme = error.code === 'signature.invalid' ? 'Signature' : 'Bearer';
    const why = error.code === 'token.invalid' ? ', error="invalid_token"' : ''; // RFC 6750 3.1
    if (error.status === 401) client.replyFields += `www-authenticate: ${scheme} realm="${name}"${why}\r\n`;
  }

  #changed({ kind, key }: Change): void {
    if (kind === 'key') this.#keys.set(key, this.#snapshot.get('key', key));
  }
}

function passed(head: RequestHead, identity: Identity | undefined): RequestHead {
  return identity ? { ...head, fields: identity.fields } : head;
}
