/** The functions that take jobs: those with traffic that are not being removed, with the specification that counts. */

import type { FunctionName } from '../../core/ids.ts';
import type { FunctionRecord } from '../../core/records.ts';
import type { FunctionSpec } from '../../core/spec.ts';
import type { Snapshot } from '../../core/store/snapshot.ts';

export class LiveFunctions {
  readonly #snapshot: Snapshot;

  constructor(snapshot: Snapshot) {
    this.#snapshot = snapshot;
  }

  /** Undefined while the function must not get jobs. */
  spec(name: FunctionName): FunctionSpec | undefined {
    const fn = this.#snapshot.get('function', name);
    return fn && this.#specOf(fn);
  }

  specs(): FunctionSpec[] {
    return this.#snapshot.values('function').flatMap((fn) => this.#specOf(fn) ?? []);
  }

  #specOf(fn: FunctionRecord): FunctionSpec | undefined {
    const main = fn.traffic.toSorted((a, b) => b.weight - a.weight)[0];
    if (!main || fn.deletingSince !== undefined) return undefined;
    return this.#snapshot.get('revision', main.revision)?.spec;
  }
}
