/** Secrets at rest. A value is sealed with AES-256-GCM under the master key, with its name as additional data, so that one
 *  secret cannot be put in the place of another; only the sealed text is in the store. The master key is a file in FN_HOME
 *  that only its owner can read (root's, where root runs the platform); the gateway reads it before it gives up root. A copy
 *  of the store without the file opens nothing, and the file is what to back up with it.
 *
 *  Nonces are random: 2^32 sealings would be needed before a repetition becomes likelier than one in 2^32. */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FnError } from './errors.ts';
import type { Bytes } from './units.ts';

export const SECRET_NAME_PATTERN = /^[A-Za-z0-9][\w.-]{0,62}$/;
export const SECRET_MAX: Bytes = 64 * 1024;

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Of the sealed text, for a day when there is another. */
const FORMAT = 'v1.';

/** Seals and opens values with one master key. */
export class SecretBox {
  readonly #key: Uint8Array;

  constructor(key: Uint8Array) {
    if (key.length !== KEY_BYTES) throw new TypeError(`a master key has ${KEY_BYTES} bytes`);
    this.#key = key;
  }

  seal(name: string, value: Buffer): string {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.#key, nonce).setAAD(Buffer.from(name));
    const sealed = Buffer.concat([nonce, cipher.update(value), cipher.final(), cipher.getAuthTag()]);
    return FORMAT + sealed.toString('base64');
  }

  /** @throws FnError secret.unreadable when it was sealed with another key, for another name, or was changed. */
  open(name: string, text: string): Buffer {
    const sealed = Buffer.from(text.slice(FORMAT.length), 'base64');
    try {
      if (!text.startsWith(FORMAT) || sealed.length < NONCE_BYTES + TAG_BYTES) throw new Error('not a sealed value');
      const decipher = createDecipheriv(CIPHER, this.#key, sealed.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      })
        .setAAD(Buffer.from(name))
        .setAuthTag(sealed.subarray(-TAG_BYTES));
      return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
    } catch (cause) {
      throw new FnError('secret.unreadable', `the secret ${name} cannot be opened with this master key`, { cause });
    }
  }
}

/** The master key of this FN_HOME; makes it when there is none. */
export async function ensureMasterKey(path: string): Promise<Buffer> {
  const found = await readKey(path);
  if (found) return found;
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  await writeFile(temporary, `${randomBytes(KEY_BYTES).toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
  try {
    await link(temporary, path); // Whole or not at all, and never over another: two processes may be here.
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  return ensureMasterKey(path);
}

async function readKey(path: string): Promise<Buffer | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const key = Buffer.from(text.trim(), 'base64');
  if (key.length === KEY_BYTES) return key;
  throw new FnError('secret.unreadable', `${path} holds no master key`, {
    hint: 'Restore it from a backup; without it the secrets must be set again, after the file is removed.',
  });
}
