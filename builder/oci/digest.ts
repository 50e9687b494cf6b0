/** Content is named by its hash. One pass over the bytes gives both the digest and the size, the two things a descriptor
 *  says of a blob. */

import { createHash, hash } from 'node:crypto';
import type { Digest } from '../../core/ids.ts';
import type { Bytes } from '../../core/units.ts';

export function digestOf(bytes: Uint8Array | string): Digest {
  return `sha256:${hash('sha256', bytes)}` as Digest;
}

/** Counts and hashes what passes. */
export class Meter {
  readonly #hash = createHash('sha256');
  #size: Bytes = 0;

  get size(): Bytes {
    return this.#size;
  }

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#size += chunk.byteLength;
  }

  /** Once, at the end. */
  digest(): Digest {
    return `sha256:${this.#hash.digest('hex')}` as Digest;
  }
}
