/** Keeps a revision that cannot start, or dies at once, from being started again at the rate of its requests. Pure over the
 *  clock it is given. A deploy makes a new revision, so it starts with a clean record. */

import { backoff, type Clock } from '../../core/clock.ts';
import { FnError } from '../../core/errors.ts';
import type { RevisionId } from '../../core/ids.ts';
import type { Millis } from '../../core/units.ts';

const BASE: Millis = 1000;
const MAX: Millis = 60_000;
/** Instances that end by themselves this soon after they were ready, this often in a row, without having answered anything,
 *  count as a loop. */
export const SHORT_LIFE: Millis = 10_000;
const SHORT_LIVES = 3;

interface History {
  failures: number;
  until: Millis;
  problem: FnError;
}

export class StartBackoff {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #histories = new Map<RevisionId, History>();
  readonly #shortLives = new Map<RevisionId, number>();

  constructor(clock: Clock, random: () => number = Math.random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Throws `function.backoff` while the revision must wait. */
  check(revision: RevisionId): void {
    const history = this.#histories.get(revision);
    const left = history ? history.until - this.#clock.monotonic() : 0;
    if (!history || left <= 0) return;
    const { problem, failures } = history;
    throw new FnError(
      'function.backoff',
      `${revision} failed to start ${failures} times; the last time: ${problem.message}`,
      {
        retryAfterS: Math.ceil(left / 1000),
        ...(problem.options.logs && { logs: problem.options.logs }),
        cause: problem,
      },
    );
  }

  /** Starts that fail side by side are one failure: nothing begins during a back-off, so what fails then began before. */
  failed(revision: RevisionId, problem: FnError): void {
    const now = this.#clock.monotonic();
    const history = this.#histories.get(revision);
    if (history && now < history.until) return;
    const failures = (history?.failures ?? 0) + 1;
    this.#histories.set(revision, { failures, until: now + backoff(failures - 1, BASE, MAX, this.#random), problem });
  }

  started(revision: RevisionId): void {
    if ((this.#shortLives.get(revision) ?? 0) < SHORT_LIVES) this.#histories.delete(revision);
  }

  /** An instance ended by itself, with no invocation in it and none before. */
  ended(revision: RevisionId, lived: Millis, problem: FnError): void {
    if (lived >= SHORT_LIFE) {
      this.#shortLives.delete(revision);
      this.#histories.delete(revision);
      return;
    }
    const lives = (this.#shortLives.get(revision) ?? 0) + 1;
    this.#shortLives.set(revision, lives);
    if (lives >= SHORT_LIVES) this.failed(revision, problem);
  }

  forget(revision: RevisionId): void {
    this.#histories.delete(revision);
    this.#shortLives.delete(revision);
  }
}
