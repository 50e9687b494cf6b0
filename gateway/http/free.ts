/** Below this the collector is quicker. */
const WORTH_IT = 8 * 1024;

/** Gives a buffer's memory back now. Left to the collector, the 64 KiB buffers of a long stream pile up: it counts them as
 *  outside memory and comes only after 64 MiB of it. Whoever calls this is the last to hold the buffer. */
export function free(buffer: Buffer): void {
  const memory = buffer.buffer as ArrayBuffer;
  if (buffer.length >= WORTH_IT && memory.byteLength === buffer.length) memory.transfer(0);
}
