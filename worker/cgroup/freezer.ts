/** Stopping a group so that it uses no cpu at all, and waking it. Written directly 0.1 ms; through an OCI runtime 7–58 ms. */

import { chownSync } from 'node:fs';
import { join } from 'node:path';
import type { FreezerFile } from '../../core/account.ts';
import { control, field, OpenFile } from './file.ts';

export interface Freezer extends Disposable {
  /** Asks the kernel; it takes effect when `isFrozen`. */
  freeze(): void;
  thaw(): void;
  /** True only when every task has stopped. */
  isFrozen(): boolean;
  /** For a process without our rights: `owner` may freeze and thaw from now on. */
  file(owner: number): FreezerFile;
}

/** States THAWED, FREEZING, FROZEN. A SIGKILL to a frozen task waits until it is thawed. */
export class FreezerV1 implements Freezer {
  readonly #path: string;
  readonly #state: OpenFile;

  constructor(dir: string) {
    this.#path = join(dir, 'freezer.state');
    this.#state = new OpenFile(this.#path, 'r+');
  }

  file(owner: number): FreezerFile {
    chownSync(this.#path, owner, owner);
    return { path: this.#path, freeze: 'FROZEN', thaw: 'THAWED' };
  }

  freeze(): void {
    this.#state.write('FROZEN');
  }

  thaw(): void {
    this.#state.write('THAWED');
  }

  /** Reading makes the kernel look whether the last task has stopped. */
  isFrozen(): boolean {
    return this.#state.text().trim() === 'FROZEN';
  }

  [Symbol.dispose](): void {
    this.#state[Symbol.dispose]();
  }
}

/** cgroup.freeze exists since Linux 5.2. A frozen task can be killed. */
export class FreezerV2 implements Freezer {
  readonly #dir: string;
  readonly #events: OpenFile;

  constructor(dir: string) {
    this.#dir = dir;
    this.#events = new OpenFile(join(dir, 'cgroup.events'));
  }

  file(owner: number): FreezerFile {
    const path = join(this.#dir, 'cgroup.freeze');
    chownSync(path, owner, owner);
    return { path, freeze: '1', thaw: '0' };
  }

  freeze(): void {
    control(join(this.#dir, 'cgroup.freeze'), 1);
  }

  thaw(): void {
    control(join(this.#dir, 'cgroup.freeze'), 0);
  }

  isFrozen(): boolean {
    return field(this.#events.text(), 'frozen') === 1;
  }

  [Symbol.dispose](): void {
    this.#events[Symbol.dispose]();
  }
}
