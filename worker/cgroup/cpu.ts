/** Cpu: a quota per period, a weight for when cpus are short, and the account of what was used and withheld. */

import { join } from 'node:path';
import type { AccountFiles } from '../../core/account.ts';
import type { Micros, MilliCpu } from '../../core/units.ts';
import { control, field, OpenFile } from './file.ts';

export interface CpuStats {
  readonly cpu: Micros;
  readonly throttled: Micros;
  readonly periods: number;
  readonly throttledPeriods: number;
}

export interface Cpu extends Disposable {
  setQuota(cpu: MilliCpu): void;
  setWeight(weight: number): void;
  stats(): CpuStats;
  accountFiles(): Pick<AccountFiles, 'cpu' | 'throttled'>;
}

/** The kernel's default, and what OCI runtimes write. */
const PERIOD_US = 100_000;
/** The kernel refuses a quota below 1 ms a period. */
const quotaUs = (cpu: MilliCpu): number => Math.max(1000, Math.round((cpu * PERIOD_US) / 1000));

/** Two controllers, often mounted together: `cpu` limits, `cpuacct` counts. */
export class CpuV1 implements Cpu {
  readonly #dir: string;
  readonly #usagePath: string;
  readonly #usage: OpenFile;
  readonly #stat: OpenFile;

  constructor(cpuDir: string, cpuacctDir: string) {
    this.#dir = cpuDir;
    this.#usagePath = join(cpuacctDir, 'cpuacct.usage');
    this.#usage = new OpenFile(this.#usagePath);
    this.#stat = new OpenFile(join(cpuDir, 'cpu.stat'));
  }

  accountFiles(): Pick<AccountFiles, 'cpu' | 'throttled'> {
    return {
      cpu: { path: this.#usagePath, perMicro: 1000 },
      throttled: { path: join(this.#dir, 'cpu.stat'), field: 'throttled_time', perMicro: 1000 },
    };
  }

  setQuota(cpu: MilliCpu): void {
    control(join(this.#dir, 'cpu.cfs_period_us'), PERIOD_US);
    control(join(this.#dir, 'cpu.cfs_quota_us'), quotaUs(cpu));
  }

  /** 1,024 shares are the default here, as a weight of 100 is on v2. */
  setWeight(weight: number): void {
    control(join(this.#dir, 'cpu.shares'), Math.max(2, Math.round((weight * 1024) / 100)));
  }

  /** Nanoseconds here. */
  stats(): CpuStats {
    const stat = this.#stat.text();
    return {
      cpu: Math.floor(this.#usage.number() / 1000),
      throttled: Math.floor(field(stat, 'throttled_time') / 1000),
      periods: field(stat, 'nr_periods'),
      throttledPeriods: field(stat, 'nr_throttled'),
    };
  }

  [Symbol.dispose](): void {
    this.#usage[Symbol.dispose]();
    this.#stat[Symbol.dispose]();
  }
}

export class CpuV2 implements Cpu {
  readonly #dir: string;
  readonly #stat: OpenFile;

  constructor(dir: string) {
    this.#dir = dir;
    this.#stat = new OpenFile(join(dir, 'cpu.stat'));
  }

  accountFiles(): Pick<AccountFiles, 'cpu' | 'throttled'> {
    const path = join(this.#dir, 'cpu.stat');
    return {
      cpu: { path, field: 'usage_usec', perMicro: 1 },
      throttled: { path, field: 'throttled_usec', perMicro: 1 },
    };
  }

  setQuota(cpu: MilliCpu): void {
    control(join(this.#dir, 'cpu.max'), `${quotaUs(cpu)} ${PERIOD_US}`);
  }

  setWeight(weight: number): void {
    control(join(this.#dir, 'cpu.weight'), weight);
  }

  stats(): CpuStats {
    const stat = this.#stat.text();
    return {
      cpu: field(stat, 'usage_usec'),
      throttled: field(stat, 'throttled_usec'),
      periods: field(stat, 'nr_periods'),
      throttledPeriods: field(stat, 'nr_throttled'),
    };
  }

  [Symbol.dispose](): void {
    this.#stat[Symbol.dispose]();
  }
}
