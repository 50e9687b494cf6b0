/** The machine a figure was measured on: without it the figure means nothing. */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { cleanEnvironment } from './environment.ts';

export function printMachine(): void {
  const model = cpus()[0]?.model ?? 'unknown';
  const distribution = /^PRETTY_NAME="?([^"\n]*)/m.exec(read('/etc/os-release'))?.[1] ?? 'Linux';
  const programs = ['crun', 'runc', 'podman', 'nginx', 'redis-server'].map((name) => `${name} ${versionOf(name)}`);
  console.log(`${cpus().length} × ${model}, ${Math.round(totalmem() / 2 ** 30)} GiB`);
  console.log(`${distribution}, kernel ${release()}, node ${process.version}, ${programs.join(', ')}`);
  console.log(
    `load average ${loadavg()
      .map((load) => load.toFixed(1))
      .join(' ')} at ${new Date().toISOString()}`,
  );
}

function versionOf(program: string): string {
  const flag = program === 'nginx' ? '-v' : '--version';
  const { stdout, stderr } = spawnSync(program, [flag], { encoding: 'utf8', env: cleanEnvironment() });
  return /\d+\.\d+(\.\d+)?/.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[0] ?? '(not installed)';
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
