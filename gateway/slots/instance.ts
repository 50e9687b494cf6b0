/** An instance as one thread of the gateway uses it: its own connections, files and counts around the cell it shares with the
 *  other threads. */

import type { Clock } from '../../core/clock.ts';
import type { RoutableInstance } from '../../core/control.ts';
import type { Millis } from '../../core/units.ts';
import { Freezer } from '../freezer.ts';
import { UpstreamPool } from '../upstream.ts';
import { Usage } from '../usage.ts';
import { Cell, LOADING } from './cell.ts';
import type { Group } from './group.ts';
import type { Rows } from './rows.ts';

export class Instance {
  readonly info: RoutableInstance;
  readonly group: Group;
  readonly pool: UpstreamPool;
  /** Fields of every reply that comes from it. */
  readonly replyFields: string;
  readonly cell: Cell;
  /** Measures what invocations use; absent where nobody said how. */
  readonly usage: Usage | undefined;
  readonly #freezer: Freezer | undefined;
  /** In flight from this thread. */
  #own = 0;
  #dropped = false;
  readonly #idleWaiters = new Set<() => void>();

  constructor(info: RoutableInstance, group: Group, rows: Rows) {
    this.info = info;
    this.group = group;
    this.pool = new UpstreamPool(info.socket);
    this.cell = new Cell(rows, info.id);
    this.#freezer = info.freezer && new Freezer(info.freezer);
    if (this.cell.isNew && info.loading) this.cell.mark(LOADING);
    else if (this.cell.isNew) this.#freezer?.thaw(); // An earlier gateway may have left it frozen.
    this.usage = info.account && new Usage(info.account, this.cell);
    this.replyFields = `x-fn-instance: ${info.id}\r\nx-fn-revision: ${info.revision}\r\n`;
  }

  get concurrency(): number {
    return this.info.concurrency;
  }

  /** Invocations of all threads. */
  get inFlight(): number {
    return this.cell.inFlight;
  }

  get isOpen(): boolean {
    return this.cell.isOpen;
  }

  /** Takes a slot if one is free. The caller sends a request, and thaws it if it was frozen. */
  take(): boolean {
    if (!this.cell.take(this.info.concurrency)) return false;
    this.#own++;
    return true;
  }

  /** The invocation that held a slot is over. */
  release(): void {
    this.#own--;
    this.cell.release(performance.now());
    if (this.#own === 0) {
      for (const wake of this.#idleWaiters) wake();
      this.#idleWaiters.clear();
      if (this.#dropped) this.cell[Symbol.dispose]();
    }
    this.group.released();
  }

  /** For whoever took a slot of it and found it frozen. */
  thaw(): void {
    this.#freezer?.thaw();
  }

  /** Freezes it when it has been idle for that long. */
  rest(now: Millis, after: Millis): void {
    if (this.#freezer) this.cell.rest(now, after, this.#freezer);
  }

  /** It is no longer ours. */
  drop(): void {
    this.pool.close();
    this.#freezer?.[Symbol.dispose]();
    this.usage?.[Symbol.dispose]();
    this.#dropped = true;
    if (this.#own === 0) this.cell[Symbol.dispose]();
  }

  /** Resolves to true when this thread has nothing in flight there, to false when that took longer than `within`. */
  idle(within: Millis, clock: Clock): Promise<boolean> {
    if (this.#own === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const wake = (): void => {
        timer[Symbol.dispose]();
        resolve(true);
      };
      const timer = clock.after(within, () => {
        this.#idleWaiters.delete(wake);
        resolve(false);
      });
      this.#idleWaiters.add(wake);
    });
  }
}
