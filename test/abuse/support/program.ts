/** The smallest program there is, for x86-64: exit(geteuid()). For mounts too small for any other. */

const GETEUID = [0xb8, 107, 0, 0, 0, 0x0f, 0x05];
const EXIT_WITH_IT = [0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
const ADDRESS = 0x40_00_00n;
const HEADERS = 120;
const X86_64 = 62;

export function smallestProgram(): Buffer {
  const file = Buffer.concat([Buffer.alloc(HEADERS), Buffer.from([...GETEUID, ...EXIT_WITH_IT])]);
  file.write('\x7fELF\x02\x01\x01', 'latin1');
  file.writeUInt16LE(2, 16); // An executable
  file.writeUInt16LE(X86_64, 18);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(ADDRESS + BigInt(HEADERS), 24); // that starts behind its headers.
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(64, 52);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(1, 56); // One segment: all of it, to be read and run.
  file.writeUInt32LE(1, 64);
  file.writeUInt32LE(5, 68);
  for (const at of [80, 88]) file.writeBigUInt64LE(ADDRESS, at);
  for (const at of [96, 104]) file.writeBigUInt64LE(BigInt(file.length), at);
  file.writeBigUInt64LE(4096n, 112);
  return file;
}
