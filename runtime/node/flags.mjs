/** Node's command line for an instance of a given size. V8 sizes its heap from the host and fixes it at start, so the
 *  platform says what fits: then a function collects garbage where it would be killed for running out of memory, and one
 *  that holds too much ends with V8's own message and a stack.
 *
 *  Measured on node 24.21 in memory cgroups of 64, 128, 256 and 512 MiB: a heap that grew to V8's limit of 40, 96, 192 and
 *  384 MiB took 42, 97, 190 and 372 in the cgroup, and none was killed. What is left above is for buffers, which are not in
 *  the heap, and for files in /tmp, which count as memory.
 *
 *  Only flags with which V8 still takes the code that node brings compiled: any other that changes what it compiles, and
 *  `--expose-gc`, has node compile itself from source at every start, 12 ms of 36 and 0.2 MiB. */

const MIB = 2 ** 20;

/** @param {number} memoryBytes the hard limit of the instance @returns {string[]} */
export function nodeFlags(memoryBytes) {
  const memory = Math.floor(memoryBytes / MIB);
  const heap = memory - Math.max(24, Math.ceil(memory / 4));
  // V8 takes up to three of these for young objects; above its default of 16 it gains nothing.
  const semiSpace = Math.min(16, Math.max(1, Math.floor(memory / 32)));
  return [
    `--max-semi-space-size=${semiSpace}`,
    `--max-old-space-size=${Math.max(16, heap - 3 * semiSpace)}`,
    // One helper thread for garbage collection and compilation instead of four: an instance rarely has more than one core,
    // and every thread counts against its pids limit.
    '--v8-pool-size=1',
    '--disable-sigusr1', // No thread that waits to open the inspector.
  ];
}
