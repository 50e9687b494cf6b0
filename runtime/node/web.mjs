/** Web standard handlers: `(request: Request) => Response`. Bodies stream both ways; a body that is known as a whole goes
 *  out in one piece with its length. */

import { Body, discard, isStream } from './fetch/body.mjs';
import { Headers } from './fetch/headers.mjs';
import { Request } from './fetch/request.mjs';
import { Response } from './fetch/response.mjs';

/** @import { IncomingMessage, ServerResponse } from 'node:http' */
/** @import { Stream } from './fetch/body.mjs' */
/** @import { Handle, WebHandler } from './types.d.ts' */

/** What belongs to one connection, and would break the framing of ours. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'proxy-connection']);

/** @param {WebHandler} handler @returns {Handle} */
export function serveWeb(handler) {
  return async (incoming, outgoing) => {
    const request = /** @type {any} */ (Request.ofIncoming(incoming, outgoing));
    const reply = /** @type {any} */ (await handler(request));
    if (!(reply instanceof Response))
      throw new TypeError(`the handler must return a Response, not ${typeName(reply)}${instead(reply)}`);
    await send(reply, incoming, outgoing);
    // What a handler began to read and left stands before the next request. Node discards what it did not begin.
    if (incoming.readableFlowing !== null && !incoming.readableEnded) discard(incoming);
  };
}

/** @param {Response} reply @param {IncomingMessage} incoming @param {ServerResponse} outgoing */
async function send(reply, incoming, outgoing) {
  if (reply.status < 200) throw new TypeError('the handler returned Response.error()');
  const { source, headers } = reply instanceof Body ? partsOf(reply) : partsOfFetched(reply);
  const bodiless = incoming.method === 'HEAD' || reply.status === 204 || reply.status === 304;
  if (isStream(source)) {
    if (!bodiless) return pump(source, outgoing, () => writeHead(reply, headers.toRaw(HOP_BY_HOP), outgoing));
    await source.cancel();
  } else if (source !== null || !bodiless) {
    headers.set('content-length', String(source === null ? 0 : Buffer.byteLength(source)));
  }
  writeHead(reply, headers.toRaw(HOP_BY_HOP), outgoing);
  if (bodiless || source === null) outgoing.end();
  else outgoing.end(source);
}

/** @param {Response} reply */
function partsOf(reply) {
  const source = /** @type {string | Uint8Array | Stream | null} */ (Body.take(reply));
  return { source, headers: reply.headers };
}

/** A reply of node's own class: the handler got it from fetch() and passes it on. Its body is decoded already, what its
 *  headers say of encoding and length is not true any more.
 *  @param {any} reply @returns {{ source: Stream | null, headers: Headers }} */
function partsOfFetched(reply) {
  const headers = new Headers(reply.headers);
  headers.delete('content-encoding');
  headers.delete('content-length');
  return { source: reply.body, headers };
}

/** @param {Response} reply @param {string[]} headers @param {ServerResponse} outgoing */
function writeHead(reply, headers, outgoing) {
  if (reply.statusText) outgoing.writeHead(reply.status, reply.statusText, headers);
  else outgoing.writeHead(reply.status, headers);
}

/** Sends each chunk when it comes, and no faster than it is read. A stream that fails at once can still become a 500; one
 *  that takes its time gets its head sent first.
 *  @param {Stream} source @param {ServerResponse} outgoing @param {() => void} writeHead */
async function pump(source, outgoing, writeHead) {
  outgoing.strictContentLength = true; // A length the function gave must be true; on all replies it costs a write each.
  const reader = source.getReader();
  outgoing.once('close', () => outgoing.writableFinished || reader.cancel().catch(() => {}));
  let next = reader.read();
  const first = await Promise.race([next, new Promise((resolve) => setImmediate(resolve))]);
  writeHead();
  if (!first) outgoing.flushHeaders();
  for (;;) {
    const { done, value } = await next;
    if (done) break;
    if (outgoing.destroyed) return;
    if (!outgoing.write(value)) await drained(outgoing);
    next = reader.read();
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

/** What a handler of another shape returns, most likely: it was exported under the wrong name.
 *  @param {any} reply */
function instead(reply) {
  if (reply === null || typeof reply !== 'object' || !('statusCode' in reply)) return '';
  return '; an event handler must not be the default export: name it, as in "handler: index.handler"';
}

/** @param {unknown} value */
function typeName(value) {
  if (value === null || typeof value !== 'object') return String(value);
  return value.constructor?.name ?? 'an object';
}
