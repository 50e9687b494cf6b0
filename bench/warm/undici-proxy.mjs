/** The usual proxy in JavaScript: node:http in front, undici behind, streams between. Argument: the function's socket. */

import { createServer } from 'node:http';
import { Client } from 'undici';

const client = new Client('http://function', { socketPath: process.argv[2], pipelining: 1 });
const clients = [
  client,
  ...Array.from({ length: 127 }, () => new Client('http://function', { socketPath: process.argv[2] })),
];
let turn = 0;

const server = createServer((request, response) => {
  const { method = 'GET', url = '/', headers } = request;
  const { connection: _connection, 'transfer-encoding': _coding, ...passed } = headers;
  const body = method === 'GET' || method === 'HEAD' ? null : request;
  const chosen = clients[turn++ % clients.length] ?? client;
  const options = { method, path: url, headers: passed, body, opaque: response };
  chosen.stream(
    /** @type {any} */ (options),
    ({ statusCode, headers: replyHeaders }) => {
      delete replyHeaders['connection'];
      delete replyHeaders['keep-alive'];
      response.writeHead(statusCode, /** @type {any} */ (replyHeaders));
      return response;
    },
    (error) => error && response.destroy(error),
  );
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  console.log(typeof address === 'object' ? address?.port : address);
});
