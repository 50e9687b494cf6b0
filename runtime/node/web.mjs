/** Web standard handlers: `(request: Request) => Response`. Bodies stream both ways. */

import { Readable } from 'node:stream';

/** @import { IncomingMessage, ServerResponse } from 'node:http' */
/** @import { Handle, WebHandler } from './types.d.ts' */

/** What belongs to one connection, and would break the framing of ours. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'proxy-connection']);

/** @param {WebHandler} handler @returns {Handle} */
export function serveWeb(handler) {
  return async (incoming, outgoing) => {
    const reply = await handler(requestOf(incoming, outgoing));
    if (typeof reply?.status !== 'number' || !reply.headers) {
      throw new TypeError(`the handler must return a Response, not ${reply === null ? 'null' : typeof reply}`);
    }
    await send(reply, incoming, outgoing);
  };
}

/** @param {IncomingMessage} incoming @param {ServerResponse} outgoing */
function requestOf(incoming, outgoing) {
  const headers = new Headers();
  const raw = incoming.rawHeaders;
  for (let at = 0; at < raw.length; at += 2) headers.append(raw[at] ?? '', raw[at + 1] ?? '');
  const gone = new AbortController();
  outgoing.once('close', () => {
    if (!outgoing.writableFinished) gone.abort();
  });
  const method = incoming.method ?? 'GET';
  const hasBody = method !== 'GET' && method !== 'HEAD';
  const proto = incoming.headers['x-forwarded-proto'] === 'https' ? 'https' : 'http';
  const host = incoming.headers.host ?? 'localhost';
  return new Request(new URL(incoming.url ?? '/', `${proto}://${host}`), {
    method,
    headers,
    signal: gone.signal,
    ...(hasBody && { body: /** @type {any} */ (Readable.toWeb(incoming)), duplex: 'half' }),
  });
}

/** @param {Response} reply @param {IncomingMessage} incoming @param {ServerResponse} outgoing */
async function send(reply, incoming, outgoing) {
  /** @type {string[]} */
  const headers = [];
  for (const [name, value] of reply.headers) if (!HOP_BY_HOP.has(name)) headers.push(name, value);
  outgoing.strictContentLength = true;
  if (reply.statusText) outgoing.writeHead(reply.status, reply.statusText, headers);
  else outgoing.writeHead(reply.status, headers);
  if (!reply.body || incoming.method === 'HEAD') {
    await reply.body?.cancel();
    outgoing.end();
    return;
  }
  const reader = reply.body.getReader();
  outgoing.once('close', () => void reader.cancel().catch(() => {}));
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (!outgoing.write(value)) await drained(outgoing);
    if (outgoing.destroyed) return;
  }
  outgoing.end();
}

/** @param {ServerResponse} outgoing @returns {Promise<void>} */
function drained(outgoing) {
  return new Promise((resolve) => {
    const go = () => {
      outgoing.off('drain', go);
      outgoing.off('close', go);
      resolve();
    };
    outgoing.on('drain', go);
    outgoing.on('close', go);
  });
}
