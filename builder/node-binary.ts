/** The one change the platform makes to node's binary on its way into the base layer, found by name and only where it is
 *  what we know: 1 MiB less in every sandbox.
 *
 *  Node's releases contain Abseil's mutexes with their detector of deadlocks, a tool for debugging. Node switches it off as
 *  its first act (nodejs/node-v8#301: it reports deadlocks that are none), but has locked a mutex before, whereupon the
 *  detector has filled a table of 1 MiB that nothing reads any more [node 24.21]. Here it is off from the beginning. A binary
 *  without symbols, or one that is built otherwise, stays as it is. */

import { type FileHandle, open } from 'node:fs/promises';
import type { Bytes } from '../core/units.ts';
import type { Change } from './oci/layer.ts';

/** `absl::(anonymous namespace)::synch_deadlock_detection`, an int. */
const DETECTION = '\0_ZN4absl12_GLOBAL__N_124synch_deadlock_detectionE\0';
const IGNORE = 0;
const ABORT = 2;

// The ELF format, 64 bit, little endian (elf(5)).
const MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
const HEADER: Bytes = 64;
const SECTION: Bytes = 64;
const SYMBOL: Bytes = 24;
const SYMTAB = 2;
const PROGBITS = 1;
/** Symbols and their names; node's are 16 MB. */
const TABLE_LIMIT: Bytes = 128 * 2 ** 20;

interface Section {
  readonly type: number;
  readonly address: number;
  readonly offset: Bytes;
  readonly size: Bytes;
  readonly link: number;
}

/** What to change in the binary at this path, if anything. */
export async function leanNode(path: string): Promise<Change | undefined> {
  await using file = await open(path);
  const header = await read(file, 0, HEADER);
  if (header.length < HEADER || !header.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const table = await read(file, Number(header.readBigUInt64LE(40)), header.readUInt16LE(60) * SECTION);
  const sections = Array.from({ length: table.length / SECTION }, (_, index) => sectionAt(table, index * SECTION));
  const symbols = sections.find(({ type }) => type === SYMTAB);
  const names = sections[symbols?.link ?? -1];
  if (!symbols || !names || symbols.size + names.size > TABLE_LIMIT) return undefined;

  const name = (await read(file, names.offset, names.size)).indexOf(DETECTION, 0, 'latin1') + 1;
  const symbol = name > 0 ? symbolNamed(name, await read(file, symbols.offset, symbols.size)) : undefined;
  const section = sections[symbol?.section ?? -1];
  if (!symbol || section?.type !== PROGBITS) return undefined;
  const at = section.offset + symbol.address - section.address;
  if ((await read(file, at, 4)).readInt32LE(0) !== ABORT) return undefined;
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(IGNORE);
  return { at, bytes };
}

function sectionAt(table: Buffer, at: number): Section {
  return {
    type: table.readUInt32LE(at + 4),
    address: Number(table.readBigUInt64LE(at + 16)),
    offset: Number(table.readBigUInt64LE(at + 24)),
    size: Number(table.readBigUInt64LE(at + 32)),
    link: table.readUInt32LE(at + 40),
  };
}

/** @param name where the table of names has it. */
function symbolNamed(name: number, table: Buffer): { section: number; address: number } | undefined {
  for (let at = 0; at + SYMBOL <= table.length; at += SYMBOL) {
    if (table.readUInt32LE(at) !== name) continue;
    return { section: table.readUInt16LE(at + 6), address: Number(table.readBigUInt64LE(at + 8)) };
  }
  return undefined;
}

/** Shorter where the file ends. */
async function read(file: FileHandle, at: Bytes, size: Bytes): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, at);
  return buffer.subarray(0, bytesRead);
}
