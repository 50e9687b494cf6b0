/** The function every contestant calls: a node server that reads the body and answers with as many bytes as the path asks
 *  for. Arguments: where to listen, a port (bare) or a unix socket (behind a proxy); how long it takes, ms. */

import { createServer } from 'node:http';

const bodies = new Map([100, 10_240, 1_048_576].map((size) => [`/${size}`, Buffer.alloc(size, 'x')]));

const [where = '0', takes = '0'] = process.argv.slice(2);
const delay = Number(takes);

const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  request.on('data', () => {});
  request.on('end', () => {
    const body = bodies.get(request.url ?? '') ?? bodies.get('/100');
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body?.length });
    if (delay > 0) setTimeout(() => response.end(body), delay);
    else response.end(body);
  });
});
server.listen(where.startsWith('/') ? where : { port: Number(where), host: '127.0.0.1' }, () => {
  const address = server.address();
  console.log(typeof address === 'object' ? address?.port : address);
});
