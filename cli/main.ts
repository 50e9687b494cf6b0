/** The `fn` command. Finds the verb, reads its flags, runs it, and turns whatever goes wrong into a message and an exit
 *  code: 0 done, 1 failed, 2 the command itself was wrong. Only the verb asked for is loaded: start-up time is part of
 *  every deploy. */

import { fail } from './failure.ts';
import { helpOf, overview } from './help.ts';
import { parseArguments } from './arguments.ts';
import { findVerb } from './verbs.ts';

/** The verb that was typed, once it is known to be one. */
let verbName: string | undefined;

async function main(argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv;
  if (first === undefined || first === '--help' || first === '-h') {
    console.log(overview());
    return first === undefined ? 2 : 0;
  }
  const { name, load } = findVerb(first === '--version' || first === '-v' ? 'version' : first);
  verbName = name;
  const verb = await load();
  const parsed = parseArguments(name, verb, rest);
  if (parsed === 'help') {
    console.log(helpOf(name, verb));
    return 0;
  }
  return (await verb.run(parsed)) ?? 0;
}

// The launcher sets it for this process; nothing we start should write into the same cache as root.
delete process.env['NODE_COMPILE_CACHE'];
// `fn ls | head` closes our output early: that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = fail(error, { json: process.argv.includes('--json'), verb: verbName });
}
