/** One probe without a function around it: `node run.js <group> <probe> [name=value …]` prints its answer as JSON. */

import { run } from './index.js';

const [group, name, ...args] = process.argv.slice(2);
const answer = await run(group, name, Object.fromEntries(args.map((arg) => arg.split('='))));
process.stdout.write(`${JSON.stringify(answer)}\n`);
