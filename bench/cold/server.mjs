/** What the baselines run: the smallest node server that answers a request. On the unix socket or the port given. Importing
 *  `node:http` as an ES module would load undici with it, which doubles the time of node's start. */

const { createServer } = process.getBuiltinModule('node:http');

const [where = '0'] = process.argv.slice(2);
createServer((_, response) => response.end('ok')).listen(Number(where) || where);
