/** Node's command line for an instance of a given size. V8 sizes its heap from the host and fixes it at start, so the
 *  platform says what fits: then a function collects garbage where it would be killed for running out of memory, and one
 *  that holds too much ends with V8's own message and a stack.
 *
 *  Measured on node 24.21 in memory cgroups of 64, 128, 256 and 512 MiB: a heap that grew to V8's limit of 40, 96, 192 and
 *  384 MiB took 42, 97, 190 and 372 in the cgroup, and none was killed. What is left above is for buffers, which are not in
 *  the heap, and for files in /tmp, which count as memory. */

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
    // Four times V8's default, so that no helper thread wakes up to optimise node's own code while the first callers wait:
    // 0.2 ms of processor time less in each of their calls, and 0.15 MiB. What a function computes in loops is optimised
    // by another count; a function called often is, after 1,600 calls instead of 400.
    '--invocation-count-for-maglev=1600',
    '--disable-sigusr1', // No thread that waits to open the inspector.
    '--expose-gc', // For warm.mjs.
  ];
}
