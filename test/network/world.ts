/** Everything a function could want to reach, in one process of a network namespace of its own: HTTP on port 80 and UDP on
 *  port 9 that answer with who asked (what arrives at the latter is noted: a sender may not want an answer), and a DNS server whose names are read from a file on every question. */

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { appendFileSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const [name = '', zone = '', seen = '', ...addresses] = process.argv.slice(2);

const tcp = createServer((request, response) => response.end(`${name} ${request.socket.remoteAddress}`));
tcp.listen(80, '0.0.0.0');
// UDP answers come from the address that was asked only when a socket is bound to it.
const sockets = addresses.flatMap((address) => {
  const echo = createSocket('udp4');
  echo.on('message', (message, from) => {
    appendFileSync(seen, `${name}: ${message.toString()}\n`);
    echo.send(`${name} ${from.address}`, from.port, from.address);
  });
  echo.bind(9, address);
  const dns = createSocket('udp4');
  dns.on('message', (question, from) => dns.send(answer(question), from.port, from.address));
  dns.bind(53, address);
  return [echo, dns];
});
await Promise.all([tcp, ...sockets].map((server) => once(server, 'listening')));
process.stdout.write('ready\n');

/** RFC 1035: the question again, and an A record for each address of the name. */
function answer(question: Buffer): Buffer {
  const labels: string[] = [];
  let at = 12;
  for (let size = question[at] ?? 0; size > 0; size = question[at] ?? 0) {
    labels.push(question.toString('latin1', at + 1, at + 1 + size));
    at += 1 + size;
  }
  const isA = question.readUInt16BE(at + 1) === 1;
  const names = JSON.parse(readFileSync(zone, 'utf8')) as Record<string, string[]>;
  const addresses = (isA && names[labels.join('.')]) || [];
  const head = Buffer.from(question.subarray(0, at + 5));
  head.writeUInt16BE(names[labels.join('.')] ? 0x8180 : 0x8183, 2);
  head.writeUInt16BE(addresses.length, 6);
  head.writeUInt16BE(0, 10);
  const records = addresses.map((address) =>
    Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, ...address.split('.').map(Number)]),
  );
  return Buffer.concat([head, ...records]);
}
