/** Collects processes that became ours by adoption and have ended: the OCI runtimes fork on their way, and what they leave is
 *  handed to the nearest subreaper, this worker. Node collects its own children at once, and a sandbox's init is collected
 *  when its log pipe ends; so whatever is still a zombie at two looks in a row is nobody else's to collect. */

import { readFileSync } from 'node:fs';
import { reap } from './native.ts';

export class Orphans {
  #seen = new Set<number>();

  /** Call it every few seconds. Returns how many were collected. */
  collect(): number {
    const zombies = childrenOf(process.pid).filter(isZombie);
    const old = zombies.filter((pid) => this.#seen.has(pid));
    for (const pid of old) reap(pid);
    this.#seen = new Set(zombies);
    return old.length;
  }
}

/** The kernel gives orphans to the main thread. */
function childrenOf(pid: number): number[] {
  return textOf(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number);
}

/** The state follows the command name, which may itself contain blanks and brackets. */
function isZombie(pid: number): boolean {
  const stat = textOf(`/proc/${pid}/stat`);
  return stat[stat.lastIndexOf(')') + 2] === 'Z';
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return ''; // It has gone meanwhile, or a kernel without CONFIG_PROC_CHILDREN: then zombies stay until the worker ends.
  }
}
