/** Block devices: bytes a second at most, and bytes moved. */

import { join } from 'node:path';
import type { Bytes } from '../../core/units.ts';
import type { IoLimit, IoStats } from './cgroup.ts';
import { controlIfPresent, textIfPresent } from './file.ts';

export interface Io {
  /** False where the kernel has no such limit. */
  setLimit(limit: IoLimit): boolean;
  stats(): IoStats | undefined;
}

/** The controller is called blkio here. */
export class IoV1 implements Io {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  setLimit({ device, readBytesPerS, writeBytesPerS }: IoLimit): boolean {
    const set = (file: string, rate: number | undefined): boolean =>
      rate === undefined || controlIfPresent(join(this.#dir, file), `${device} ${rate}`);
    return (
      set('blkio.throttle.read_bps_device', readBytesPerS) && set('blkio.throttle.write_bps_device', writeBytesPerS)
    );
  }

  /** Lines `254:0 Read 4096`, and so on for each device and kind. */
  stats(): IoStats | undefined {
    return account(join(this.#dir, 'blkio.throttle.io_service_bytes'), / Read (\d+)/g, / Write (\d+)/g);
  }
}

export class IoV2 implements Io {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  setLimit({ device, readBytesPerS = Infinity, writeBytesPerS = Infinity }: IoLimit): boolean {
    const rate = (bytes: Bytes): string => (bytes === Infinity ? 'max' : `${bytes}`);
    const line = `${device} rbps=${rate(readBytesPerS)} wbps=${rate(writeBytesPerS)}`;
    return controlIfPresent(join(this.#dir, 'io.max'), line);
  }

  /** A line `254:0 rbytes=4096 wbytes=0 rios=1 …` for each device. */
  stats(): IoStats | undefined {
    return account(join(this.#dir, 'io.stat'), / rbytes=(\d+)/g, / wbytes=(\d+)/g);
  }
}

/** Sums over all devices; undefined when there is no such file. */
function account(path: string, read: RegExp, written: RegExp): IoStats | undefined {
  const text = textIfPresent(path);
  const sum = (pattern: RegExp): number =>
    [...(text ?? '').matchAll(pattern)].reduce((total, [, digits]) => total + Number(digits), 0);
  return text === undefined ? undefined : { readBytes: sum(read), writtenBytes: sum(written) };
}
