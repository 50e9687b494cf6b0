/** Writes an initramfs: a cpio archive in the "newc" form the Linux kernel unpacks at boot (Documentation/driver-api/
 *  early-userspace/buffer-format.rst). A header of hexadecimal fields, the name, the content, each padded to 4 bytes;
 *  several archives after one another are unpacked in turn. Owner root and time 0: same entries, same bytes. */

import { once } from 'node:events';
import { createReadStream, createWriteStream, type WriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';

export interface CpioEntry {
  /** Without a leading slash. */
  readonly path: string;
  readonly mode: number;
  /** Bytes, a file on the host to copy, or the target of a symbolic link. */
  readonly content?: Uint8Array | string | { readonly file: string };
  readonly device?: { readonly major: number; readonly minor: number };
}

export const FILE = 0o100000;
export const DIRECTORY = 0o040000;
export const LINK = 0o120000;
export const CHARACTER_DEVICE = 0o020000;

/** Appends to `path`; directories must come before what is in them. */
export async function appendCpio(path: string, entries: Iterable<CpioEntry>): Promise<void> {
  const out = createWriteStream(path, { flags: 'a' });
  let inode = 0;
  for (const entry of entries) await writeEntry(out, ++inode, entry);
  await writeEntry(out, 0, { path: 'TRAILER!!!', mode: 0 });
  out.end();
  await once(out, 'close');
}

async function writeEntry(
  out: WriteStream,
  inode: number,
  { path, mode, content = '', device }: CpioEntry,
): Promise<void> {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const size = bytes instanceof Uint8Array ? bytes.length : (await stat(bytes.file)).size;
  const name = Buffer.from(`${path}\0`);
  const fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, device?.major ?? 0, device?.minor ?? 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}`);
  await write(out, Buffer.concat([header, name, padding(header.length + name.length)]));
  if (bytes instanceof Uint8Array) await write(out, bytes);
  else for await (const chunk of createReadStream(bytes.file)) await write(out, chunk as Buffer);
  await write(out, padding(size));
}

async function write(out: WriteStream, bytes: Uint8Array): Promise<void> {
  if (!out.write(bytes)) await once(out, 'drain');
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
