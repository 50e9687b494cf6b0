/** Which gateway has which instance. An instance belongs to one gateway process at a time, which counts its slots; it changes
 *  hands only after the one that has it says that nothing is in flight on it any more, and sends nothing more.
 *
 *  - A gateway that comes gets what nobody has. After a restart of ours it says what it has, and keeps it.
 *  - One that leaves, because another takes its place, gives up each instance as it becomes idle. Until it is gone it may
 *    still get some: its last requests must be answered too.
 *  - Where no more may be started, a gateway with none gets one from a gateway that has some. */

import type { Clock } from '../../core/clock.ts';
import type { GatewayCalls, RoutableInstance, WorkerCalls } from '../../core/control.ts';
import type { RevisionId } from '../../core/ids.ts';
import type { RpcPeer } from '../../core/rpc.ts';
import type { Millis } from '../../core/units.ts';
import type { Instance } from './instance.ts';

/** A connected gateway. */
export interface GatewayLink {
  readonly key: symbol;
  readonly call: RpcPeer<GatewayCalls, WorkerCalls>['call'];
}

export interface OwnersParts {
  readonly instances: () => readonly Instance[];
  readonly clock: Clock;
}

export const CALL_WITHIN: Millis = 5000;
/** How long a gateway that had an adopted instance may take to come back and say so. */
const CLAIM_WITHIN: Millis = 1500;
/** A move asks again after so long; what is in flight may take as long as it takes. */
const MOVE_STEP: Millis = 10_000;
/** The reply that carries an instance is read before it is asked for again. */
const SETTLES_WITHIN: Millis = 100;

interface Gateway extends GatewayLink {
  leaving: boolean;
}

export class Owners {
  readonly #parts: OwnersParts;
  readonly #gateways = new Map<symbol, Gateway>();
  /** On the way from one gateway to another. */
  readonly #moving = new Set<Instance>();
  /** Adopted: somebody may have them. */
  readonly #unclaimed = new Set<Instance>();

  constructor(parts: OwnersParts) {
    this.#parts = parts;
  }

  /** The gateway that has it, while that is connected. */
  of(instance: Instance): GatewayLink | undefined {
    return instance.owner && this.#gateways.get(instance.owner);
  }

  isMoving(instance: Instance): boolean {
    return this.#moving.has(instance);
  }

  /** A gateway is here. Returns what is its: what it has already, and what nobody has. */
  join(link: GatewayLink, holds: ReadonlySet<string>, leaving: boolean): RoutableInstance[] {
    const gateway: Gateway = { ...link, leaving };
    if (this.#gateways.size === 0) this.#parts.clock.after(CLAIM_WITHIN, () => this.#unclaim());
    this.#gateways.set(gateway.key, gateway);
    const its = this.#orphans().filter(
      (instance) => holds.has(instance.id) || (!leaving && !this.#unclaimed.has(instance)),
    );
    for (const instance of its) this.#give(instance, gateway);
    for (const other of this.#gateways.values()) if (other.leaving) this.#moveAll(other);
    return its.map((instance) => instance.routable());
  }

  /** Another gateway takes its place. */
  leaving(key: symbol): void {
    const gateway = this.#gateways.get(key);
    if (!gateway) return;
    gateway.leaving = true;
    this.#moveAll(gateway);
  }

  /** A gateway is gone; another, or its successor, takes over. */
  gone(key: symbol): void {
    this.#gateways.delete(key);
    for (const instance of this.#parts.instances()) {
      if (instance.owner !== key) continue;
      instance.owner = undefined;
      this.offer(instance);
    }
  }

  /** An instance is being made for this gateway, which may send to it already. */
  taken(instance: Instance, asker: symbol): void {
    const gateway = this.#gateways.get(asker);
    if (gateway) this.#give(instance, gateway);
  }

  /** An instance is ready that this gateway asked for; without one, any may have it. Returns once that is settled. */
  ready(instance: Instance, asker: symbol | undefined): void {
    const gateway = asker && this.#gateways.get(asker);
    if (!gateway) {
      this.offer(instance);
      return;
    }
    this.#give(instance, gateway);
    if (gateway.leaving) this.#parts.clock.after(SETTLES_WITHIN, () => void this.#move(instance, gateway));
  }

  /** An earlier worker's instance. Whoever has it keeps it. */
  adopted(instance: Instance): void {
    this.#unclaimed.add(instance);
  }

  /** To a gateway that stays, if there is one and nobody has it. */
  offer(instance: Instance): void {
    if (instance.owner !== undefined || instance.record.state !== 'ready') return;
    const heir = this.#heir();
    if (heir) void this.#handTo(instance, heir);
  }

  /** The gateway waits for an instance of the revision, and no more may be started. */
  wanted(revision: RevisionId, asker: symbol): void {
    const to = this.#gateways.get(asker);
    const all = this.#parts
      .instances()
      .filter(({ record }) => record.revision === revision && record.state === 'ready');
    if (!to || all.some((instance) => instance.owner === asker || this.#moving.has(instance))) return;
    for (const instance of all) {
      const from = instance.owner && this.#gateways.get(instance.owner);
      if (!from) continue;
      void this.#move(instance, from, to);
      return;
    }
  }

  /** Whoever had one has had time to say so. */
  #unclaim(): void {
    const unclaimed = [...this.#unclaimed];
    this.#unclaimed.clear();
    for (const instance of unclaimed) this.offer(instance);
  }

  #orphans(): Instance[] {
    return this.#parts.instances().filter(({ owner, record }) => owner === undefined && record.state === 'ready');
  }

  #heir(): Gateway | undefined {
    return [...this.#gateways.values()].find(({ leaving }) => !leaving);
  }

  #moveAll(from: Gateway): void {
    if (!this.#heir()) return; // Until one is there it keeps them.
    for (const instance of this.#parts.instances()) if (instance.owner === from.key) void this.#move(instance, from);
  }

  async #move(instance: Instance, from: Gateway, to?: Gateway): Promise<void> {
    if (this.#moving.has(instance)) return;
    this.#moving.add(instance);
    try {
      const isStill = (): boolean =>
        instance.owner === from.key && instance.record.state === 'ready' && !instance.intent;
      for (let idle = false; !idle;) {
        if (!isStill()) return;
        const order = { instance: instance.id, mode: 'drain', deadlineMs: MOVE_STEP } as const;
        ({ idle } = await from.call('unroute', order, MOVE_STEP + CALL_WITHIN));
      }
      if (!isStill()) return;
      instance.owner = undefined;
      const next = to && this.#gateways.has(to.key) ? to : this.#heir();
      if (next) await this.#handTo(instance, next);
      // A gateway that leaves has what it waited for: the next one may have it afterwards.
      if (next?.leaving) this.#parts.clock.after(0, () => void this.#move(instance, next));
    } catch {
      // It went away; whoever is there has it now.
    } finally {
      this.#moving.delete(instance);
    }
  }

  #give(instance: Instance, gateway: Gateway): void {
    instance.owner = gateway.key;
    this.#unclaimed.delete(instance);
  }

  async #handTo(instance: Instance, gateway: Gateway): Promise<void> {
    this.#give(instance, gateway);
    try {
      await gateway.call('route', { instance: instance.routable() }, CALL_WITHIN);
    } catch {
      if (instance.owner === gateway.key) instance.owner = undefined; // It left; the next one to join takes it.
    }
  }
}
