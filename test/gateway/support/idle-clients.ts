/** Opens so many connections to a port, says when all are there, and keeps them: `node idle-clients.ts PORT COUNT`. It is a
 *  process of its own since both ends would be too many descriptors for one. */

import { once } from 'node:events';
import { connect } from 'node:net';

const [port = 0, count = 0] = process.argv.slice(2).map(Number);
let open = 0;
let closed = 0;
while (open < count) {
  await Promise.all(
    Array.from({ length: Math.min(100, count - open) }, async () => {
      const socket = connect({ port, host: '127.0.0.1' }).resume();
      socket.on('error', () => {});
      socket.on('close', () => {
        if (++closed === count) process.stdout.write('closed\n');
      });
      await once(socket, 'connect');
    }),
  );
  open += 100;
}
process.stdout.write('open\n');
