/** Node's command line for an instance of a given size. V8 sizes its heap from the host and fixes it at start, so the
 *  platform says what fits: then a function collects garbage where it would be killed for running out of memory. */

const MIB = 2 ** 20;

/** @param {number} memoryBytes the hard limit of the instance @returns {string[]} */
export function nodeFlags(memoryBytes) {
  const memory = Math.floor(memoryBytes / MIB);
  // V8 takes three semi-spaces for the young generation. Its own default of 16 is for desktops.
  const semiSpace = Math.min(16, Math.max(1, Math.floor(memory / 64)));
  // The rest is what node needs beside the heap: 30 MiB of its own, buffers, and threads' stacks.
  const oldSpace = Math.floor((memory - 3 * semiSpace - 30) * 0.85);
  return [`--max-semi-space-size=${semiSpace}`, `--max-old-space-size=${Math.max(16, oldSpace)}`];
}
