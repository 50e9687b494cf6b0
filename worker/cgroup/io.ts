/** Block devices: bytes a second at most, and bytes moved. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IoLimit, IoStats } from './cgroup.ts';
import { control } from './file.ts';

export interface Io {
  setLimit(limit: IoLimit): void;
  stats(): IoStats;
}

/** The controller is called blkio here. */
export class IoV1 implements Io {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  setLimit({ device, readBytesPerS, writeBytesPerS }: IoLimit): void {
    const set = (file: string, rate: number | undefined): void => {
      if (rate !== undefined) control(join(this.#dir, file), `${device} ${rate}`);
    };
    set('blkio.throttle.read_bps_device', readBytesPerS);
    set('blkio.throttle.write_bps_device', writeBytesPerS);
  }

  /** Lines `254:0 Read 4096`, and so on for each device and kind. */
  stats(): IoStats {
    const text = readFileSync(join(this.#dir, 'blkio.throttle.io_service_bytes'), 'latin1');
    return { readBytes: sum(text, / Read (\d+)/g), writtenBytes: sum(text, / Write (\d+)/g) };
  }
}

export class IoV2 implements Io {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  setLimit({ device, readBytesPerS, writeBytesPerS }: IoLimit): void {
    control(join(this.#dir, 'io.max'), `${device} rbps=${readBytesPerS ?? 'max'} wbps=${writeBytesPerS ?? 'max'}`);
  }

  /** A line `254:0 rbytes=4096 wbytes=0 rios=1 …` for each device. */
  stats(): IoStats {
    const text = readFileSync(join(this.#dir, 'io.stat'), 'latin1');
    return { readBytes: sum(text, / rbytes=(\d+)/g), writtenBytes: sum(text, / wbytes=(\d+)/g) };
  }
}

function sum(text: string, pattern: RegExp): number {
  return [...text.matchAll(pattern)].reduce((total, [, digits]) => total + Number(digits), 0);
}
