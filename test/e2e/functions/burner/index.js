/** Burns about as much cpu time as it is asked to, in the way it is asked to, and says how much that was: the kernel's own
 *  count for this process and its threads, and what a child said of itself. */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

const FILE = import.meta.filename;

function burnt(before) {
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

function spin(micros, before = process.cpuUsage()) {
  while (burnt(before) < micros) for (let n = 0; n < 1e5; n++);
}

const WAYS = {
  alone: (micros) => spin(micros),
  'in the kernel': (micros) => {
    const before = process.cpuUsage();
    while (burnt(before) < micros) for (let n = 0; n < 100; n++) statSync('/proc/self/stat');
  },
  'in threads': async (micros) => {
    // Each sees what the process burns.
    const threads = Array.from({ length: 2 }, () => new Worker(FILE, { workerData: { micros } }));
    await Promise.all(threads.map((thread) => once(thread, 'exit')));
  },
  'in a child': async (micros) => {
    const child = fork(FILE, [String(micros)]);
    const [said] = await once(child, 'message');
    await once(child, 'exit');
    return said;
  },
};

if (!isMainThread) spin(workerData.micros);
else if (process.send) {
  spin(Number(process.argv[2]));
  process.send(burnt(), () => process.disconnect());
}

export default async function burn(request) {
  const { way, micros } = await request.json();
  const before = process.cpuUsage();
  const elsewhere = (await WAYS[way](micros)) ?? 0;
  return Response.json({ burnt: burnt(before) + elsewhere });
}
