/** Warm sandboxes: running, generic, nobody's. A claim takes one and it never comes back; the pool then refills in the
 *  background, one at a time and not while claims come, so that real work comes first. Kept per class, since the heap limit
 *  is fixed at start; how many of each is pool-policy.ts's to say. Whoever finds none has one made, in line with others. */

import { availableParallelism } from 'node:os';
import { type Clock, sleep } from '../core/clock.ts';
import { newSandboxId } from '../core/ids.ts';
import type { Log } from '../core/log.ts';
import type { Millis } from '../core/units.ts';
import { ClaimCount, type ClassDemand, keyOf, type PoolLimits, poolTargets } from './pool-policy.ts';
import { keepCompiledCode, lacksCompiledCode } from './sandbox/compiled-code.ts';
import { Sandbox, type SandboxClass, type SandboxHost } from './sandbox/sandbox.ts';
import { StartLine } from './start-line.ts';

export interface PoolOptions extends PoolLimits {
  readonly clock: Clock;
  readonly log: Log;
}

/** Sandboxes that are made at a time, for each processor. */
export const STARTS_PER_CPU = 2;
const WARM_WITHIN: Millis = 20_000;
const RETRY_AFTER: Millis = 2000;
/** A claim leaves the processors to its first invocation; a start that found no warm sandbox is making one itself. */
const CALM_AFTER_CLAIM: Millis = 25;
const CALM_AFTER_MISS: Millis = 500;
/** Under claims that never pause, one sandbox is still made each so often. */
const CALM_WITHIN: Millis = 1000;
/** Peaks pass, and what was kept for them ends. */
const REVIEW_EVERY: Millis = 10_000;

export class Pool<Owner> implements AsyncDisposable {
  readonly #host: SandboxHost;
  readonly #options: PoolOptions;
  readonly #line: StartLine;
  readonly #warm = new Map<string, Sandbox<Owner>[]>();
  readonly #claims = new Map<string, ClaimCount>();
  #demands: readonly ClassDemand[] = [];
  #classes = new Map<string, SandboxClass>();
  #targets = new Map<string, number>();
  /** Base layers whose bootstrap was compiled by us, or could not be. */
  readonly #compiled = new Set<string>();
  /** Until then claims have the machine. */
  #calmAt: Millis = 0;
  /** A claim has just been made. */
  #refill: Disposable | undefined;
  /** A peak may have passed. */
  #review: Disposable | undefined;
  #filling: Promise<void> | undefined;
  readonly #closing = new AbortController();

  constructor(host: SandboxHost, options: PoolOptions) {
    this.#host = host;
    this.#options = options;
    this.#line = new StartLine(STARTS_PER_CPU * availableParallelism(), options.clock);
  }

  get size(): number {
    return [...this.#warm.values()].reduce((sum, list) => sum + list.length, 0);
  }

  /** A warm sandbox of the class, or undefined. It is the caller's from now on. */
  take(wanted: SandboxClass): Sandbox<Owner> | undefined {
    const { clock } = this.#options;
    const key = keyOf(wanted);
    const list = this.#warm.get(key);
    let found = list?.shift();
    while (found?.over) found = list?.shift();
    const now = clock.monotonic();
    this.#calmAt = now + (found ? CALM_AFTER_CLAIM : CALM_AFTER_MISS);
    this.#claims.get(key)?.add(now);
    this.#refill ??= clock.after(CALM_AFTER_CLAIM, () => {
      this.#refill = undefined;
      this.#reconsider();
    });
    return found;
  }

  /** One of its own for whoever found no warm one. It waits for its turn, at most `within`, and gives the next one its turn
   *  when it is claimed.
   *  @throws FnError capacity.node_full when its turn did not come. */
  async make(wanted: SandboxClass, within: Millis): Promise<Sandbox<Owner>> {
    return this.#make(wanted, await this.#line.enter(AbortSignal.timeout(Math.ceil(within))));
  }

  /** What is deployed now. Classes nobody wants any more are emptied. */
  want(demands: readonly ClassDemand[]): void {
    this.#demands = demands;
    this.#classes = new Map(demands.map((demand) => [keyOf(demand.class), demand.class]));
    for (const key of this.#claims.keys()) if (!this.#classes.has(key)) this.#claims.delete(key);
    for (const key of this.#classes.keys()) if (!this.#claims.has(key)) this.#claims.set(key, new ClaimCount());
    this.#reconsider();
  }

  /** Takes over a warm sandbox of an earlier worker. */
  adopt(sandbox: Sandbox<Owner>): void {
    this.#add(keyOf(sandbox.class), sandbox);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    await this.#filling;
    await Promise.all([...this.#warm.values()].flat().map((sandbox) => this.#discard(sandbox)));
    this.#warm.clear();
  }

  /** Lets go of all without ending them. */
  async release(): Promise<void> {
    this.#close();
    await this.#filling;
    for (const sandbox of [...this.#warm.values()].flat()) sandbox.release();
  }

  #close(): void {
    this.#closing.abort();
    this.#refill?.[Symbol.dispose]();
    this.#review?.[Symbol.dispose]();
  }

  /** Works out the targets anew: ends what is over them and makes what is missing. Looks again while peaks may pass. */
  #reconsider(): void {
    if (this.#closing.signal.aborted) return;
    const now = this.#options.clock.monotonic();
    const peaks = new Map([...this.#claims].map(([key, count]) => [key, count.peak(now)]));
    this.#targets = poolTargets(this.#demands, peaks, this.#options);
    for (const [key, list] of this.#warm) {
      for (const extra of list.splice(this.#targets.get(key) ?? 0)) void this.#discard(extra);
    }
    this.#review?.[Symbol.dispose]();
    const any = [...peaks.values()].some((peak) => peak > 0);
    this.#review = any ? this.#options.clock.after(REVIEW_EVERY, () => this.#reconsider()) : undefined;
    this.#fill();
  }

  #fill(): void {
    this.#filling ??= this.#fillAll().finally(() => (this.#filling = undefined));
  }

  async #fillAll(): Promise<void> {
    const failed = new Set<string>();
    for (let wanted = this.#missing(failed); wanted && !this.#closing.signal.aborted; wanted = this.#missing(failed)) {
      await this.#calm();
      if (this.#closing.signal.aborted) return;
      const place = await this.#line.enter(this.#closing.signal, true).catch(() => undefined);
      if (!place) return; // Closed.
      try {
        const sandbox = await this.#make(wanted, place);
        try {
          await sandbox.warm(WARM_WITHIN);
        } catch (error) {
          await this.#discard(sandbox);
          throw error;
        }
        if (this.#lacksCode(wanted)) await this.#compile(sandbox);
        else this.#add(keyOf(wanted), sandbox);
      } catch (error) {
        // The next class may fare better: one without a network, where networks cannot be made.
        this.#options.log.warn({ err: error }, 'a pool sandbox did not start');
        failed.add(keyOf(wanted));
      }
    }
    if (failed.size > 0 && !this.#closing.signal.aborted) this.#options.clock.after(RETRY_AFTER, () => this.#fill());
  }

  /** For those that start after it. It cannot be claimed any more. */
  async #compile(sandbox: Sandbox<Owner>): Promise<void> {
    const { rootfs } = sandbox.class;
    this.#compiled.add(rootfs);
    try {
      await keepCompiledCode(rootfs, await sandbox.compiledCode(WARM_WITHIN));
    } catch (error) {
      this.#options.log.warn({ err: error, rootfs }, 'the bootstrap was not compiled: sandboxes start a little slower');
    } finally {
      await this.#discard(sandbox);
    }
  }

  #lacksCode({ rootfs }: SandboxClass): boolean {
    return !this.#compiled.has(rootfs) && lacksCompiledCode(rootfs);
  }

  async #make(wanted: SandboxClass, place: Disposable): Promise<Sandbox<Owner>> {
    try {
      return await Sandbox.start<Owner>(this.#host, newSandboxId(), wanted, place);
    } catch (error) {
      place[Symbol.dispose]();
      throw error;
    }
  }

  async #calm(): Promise<void> {
    const { clock } = this.#options;
    const end = clock.monotonic() + CALM_WITHIN;
    for (let now = clock.monotonic(); now < this.#calmAt && now < end; now = clock.monotonic()) {
      await sleep(Math.min(this.#calmAt, end) - now);
    }
  }

  /** One whose bootstrap nobody has compiled, for which one sandbox is made; else the class furthest below its target. */
  #missing(failed: ReadonlySet<string>): SandboxClass | undefined {
    const classes = [...this.#classes].filter(([key]) => !failed.has(key));
    const [, uncompiled] = classes.find(([, one]) => this.#lacksCode(one)) ?? [];
    if (uncompiled) return uncompiled;
    const gaps = classes.map(([key]) => ({
      key,
      gap: (this.#targets.get(key) ?? 0) - (this.#warm.get(key)?.length ?? 0),
    }));
    const [worst] = gaps.sort((a, b) => b.gap - a.gap);
    return worst && worst.gap > 0 ? this.#classes.get(worst.key) : undefined;
  }

  #add(key: string, sandbox: Sandbox<Owner>): void {
    const list = this.#warm.get(key) ?? [];
    this.#warm.set(key, list);
    list.push(sandbox);
    void sandbox.ended.then(async () => {
      const index = list.indexOf(sandbox);
      if (index < 0) return; // It was taken: its new owner sees the end.
      list.splice(index, 1);
      await this.#discard(sandbox);
      this.#options.clock.after(RETRY_AFTER, () => this.#fill());
    });
  }

  async #discard(sandbox: Sandbox<Owner>): Promise<void> {
    try {
      await sandbox[Symbol.asyncDispose]();
    } catch (error) {
      this.#options.log.warn({ err: error, sandbox: sandbox.id }, 'a pool sandbox could not be removed');
    }
  }
}
