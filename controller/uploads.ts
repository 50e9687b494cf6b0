/** Receives the packed directory of a deploy: streamed to disk while its sha256 is computed, bounded, and named by the hash
 *  only when it is whole. Two deploys of the same bytes share one file, so the last user removes it. */

import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { FnError } from '../core/errors.ts';
import { type Bytes, formatBytes, type Millis } from '../core/units.ts';

export const UPLOAD_LIMIT: Bytes = 512 * 2 ** 20;

const LEFT_AFTER: Millis = 3_600_000;

export interface Upload extends AsyncDisposable {
  readonly sha256: string;
  readonly size: Bytes;
}

const users = new Map<string, number>();

/** Rejects with `body.too_large`, `package.invalid` (nothing came) or the signal's reason. */
export async function receiveUpload(
  directory: string,
  body: ReadableStream<Uint8Array> | null,
  signal: AbortSignal,
): Promise<Upload> {
  if (!body) throw new FnError('package.invalid', 'the request has no body');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = join(directory, `.${randomBytes(8).toString('hex')}.part`);
  const hash = createHash('sha256');
  let size = 0;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size > UPLOAD_LIMIT) {
        done(tooLarge());
        return;
      }
      hash.update(chunk);
      done(null, chunk);
    },
  });
  try {
    await pipeline(Readable.fromWeb(body), meter, createWriteStream(temporary, { mode: 0o600, flags: 'wx' }), {
      signal,
    });
    if (size === 0) throw new FnError('package.invalid', 'the body is empty');
    const sha256 = hash.digest('hex');
    const path = join(directory, sha256);
    users.set(sha256, (users.get(sha256) ?? 0) + 1);
    await rename(temporary, path);
    return {
      sha256,
      size,
      async [Symbol.asyncDispose]() {
        const left = (users.get(sha256) ?? 1) - 1;
        if (left > 0) {
          users.set(sha256, left);
          return;
        }
        users.delete(sha256);
        await rm(path, { force: true });
      },
    };
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Removes what a controller that was killed left behind; what a build may still read is younger. */
export async function sweepUploads(directory: string, now: Millis): Promise<void> {
  for (const name of await readdir(directory).catch(() => [])) {
    const path = join(directory, name);
    const found = await stat(path).catch(() => undefined);
    if (found && now - found.mtimeMs > LEFT_AFTER) await rm(path, { force: true });
  }
}

export function tooLarge(): FnError {
  return new FnError('body.too_large', `the package is over ${formatBytes(UPLOAD_LIMIT)}`, {
    hint: 'Exclude what the function does not need with .fnignore.',
  });
}
