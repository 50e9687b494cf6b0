/** What the baselines run: the smallest node server that answers a request. On the unix socket or the port given. */

import { createServer } from 'node:http';

const [where = '0'] = process.argv.slice(2);
createServer((_, response) => response.end('ok')).listen(Number(where) || where);
