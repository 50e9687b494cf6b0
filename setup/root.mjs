/** Who we are, and whether we may become root. */

import { spawnSync } from 'node:child_process';
import { findProgram } from './programs.mjs';

export function isRoot() {
  return process.getuid?.() === 0;
}

/** True when sudo needs no password, or can ask for one here. */
export function canSudo() {
  if (!findProgram('sudo')) return false;
  if (process.stdin.isTTY && process.stderr.isTTY) return true;
  return spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore', timeout: 10_000 }).status === 0;
}
