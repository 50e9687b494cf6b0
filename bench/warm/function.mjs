/** The function every contestant calls: a node server that reads the body and answers with as many bytes as the path asks
 *  for. Started on a port (bare) or on a unix socket (behind a proxy). */

import { createServer } from 'node:http';

const bodies = new Map([100, 10_240, 1_048_576].map((size) => [`/${size}`, Buffer.alloc(size, 'x')]));

const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  request.on('data', () => {});
  request.on('end', () => {
    const body = bodies.get(request.url ?? '') ?? bodies.get('/100');
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body?.length });
    response.end(body);
  });
});
const [where = '0'] = process.argv.slice(2);
server.listen(where.startsWith('/') ? where : { port: Number(where), host: '127.0.0.1' }, () => {
  const address = server.address();
  console.log(typeof address === 'object' ? address?.port : address);
});
