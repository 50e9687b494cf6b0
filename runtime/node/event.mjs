/** Event handlers with the AWS Lambda signature: `(event, context)`, `(event, context, callback)`, and streaming ones. A
 *  request whose content type is EVENT_TYPE, and a job of a queue, carry the event itself and get the result itself;
 *  any other request becomes an event of the function URL format 2.0, and the result is read as that format's reply. */

import { describeError } from './errors.mjs';
import { functionUrlEvent, sendFunctionUrlReply } from './function-url.mjs';
import { logError } from './logs.mjs';
import { readBody } from './read.mjs';

/** @import { IncomingMessage, ServerResponse } from 'node:http' */
/** @import { Claim, Context, EventHandler, FunctionUrlReply, Handle } from './types.d.ts' */

const EVENT_TYPE = 'application/vnd.fn.event+json';

/** Marks a handler that streams. */
const STREAMING = Symbol('fn.streaming');
/** How HttpResponseStream.from finds the head of the reply that a response stream writes to. */
const HEAD = Symbol('fn.head');

/** An event is held in memory, as bytes, text and objects: an eighth of the instance leaves room for all three. */
const BODY_SHARE = 8;

/** AWS's names: a streaming handler calls streamifyResponse while it loads. */
export function installAwsLambda() {
  Object.defineProperty(globalThis, 'awslambda', {
    configurable: true,
    value: {
      /** @param {Function} handler */
      streamifyResponse: (handler) => Object.assign(handler, { [STREAMING]: true }),
      HttpResponseStream: {
        /** @param {any} stream @param {FunctionUrlReply} head */
        from(stream, head) {
          stream[HEAD](head);
          return stream;
        },
      },
    },
  });
}

/** @param {EventHandler} handler @returns {boolean} */
export const isStreaming = (handler) => STREAMING in handler;

/** @param {EventHandler} handler @param {boolean} streaming @param {Claim} claim @returns {Handle} */
export function serveEvents(handler, streaming, claim) {
  const bodyLimit = claim.memoryBytes / BODY_SHARE;
  return async (request, response) => {
    const raw = request.headers['x-fn-queue'] !== undefined || typeOf(request) === EVENT_TYPE;
    const body = await readBody(request, bodyLimit);
    if (!body) {
      sendJson(response, 413, { errorType: 'BodyTooLarge', errorMessage: `an event has at most ${bodyLimit} bytes` });
      return;
    }
    /** @type {unknown} */
    let event;
    try {
      event = raw ? JSON.parse(body.length > 0 ? body.toString() : 'null') : functionUrlEvent(request, body, claim);
    } catch (error) {
      sendJson(response, 400, { errorType: 'InvalidEvent', errorMessage: `not JSON: ${String(error)}` });
      return;
    }
    const context = contextOf(request, response, claim);
    try {
      if (streaming) return await stream(handler, event, context, response);
      const result = await call(handler, event, context);
      if (raw) sendJson(response, 200, result ?? null);
      else sendFunctionUrlReply(response, request, /** @type {FunctionUrlReply} */ (result));
    } catch (thrown) {
      if (!raw || response.headersSent) throw thrown;
      // Who sends raw events (fn invoke, a queue) is the function's owner and may see the stack.
      const { name, message, stack } = describeError(thrown, process.cwd());
      logError(stack);
      response.setHeader('x-fn-function-error', 'Unhandled');
      sendJson(response, 500, { errorType: name, errorMessage: message, trace: stack.split('\n') });
    }
  };
}

/** @param {EventHandler} handler @param {unknown} event @param {Context} context @returns {Promise<unknown>} */
async function call(handler, event, context) {
  if (handler.length < 3) return handler(event, context, () => {});
  return new Promise((resolve, reject) => {
    const result = handler(event, context, (error, value) => (error ? reject(error) : resolve(value)));
    // A handler that takes a callback and still returns a promise answers with whichever settles first.
    if (typeof (/** @type {any} */ (result)?.then) === 'function') resolve(result);
  });
}

/** A streaming handler writes to a stream that goes into the reply as it comes.
 *  @param {EventHandler} handler @param {unknown} event @param {Context} context @param {ServerResponse} response
 *  @returns {Promise<void>} */
async function stream(handler, event, context, response) {
  response.setHeader('content-type', 'application/octet-stream');
  const { Writable } = process.getBuiltinModule('node:stream');
  const out = new Writable({
    decodeStrings: false,
    write(chunk, encoding, done) {
      const isText = typeof chunk === 'string';
      if (isText ? response.write(chunk, encoding) : response.write(chunk)) done();
      else response.once('drain', done);
    },
    final(done) {
      response.end();
      done();
    },
    destroy(error, done) {
      if (!response.writableEnded) response.destroy();
      done(error);
    },
  });
  out.on('error', () => {}); // The client has gone.
  response.once('close', () => out.destroy());
  Object.assign(out, {
    /** @param {string} type */
    setContentType: (type) => response.setHeader('content-type', type),
    /** @param {FunctionUrlReply} head */
    [HEAD]({ statusCode = 200, headers = {}, cookies = [] }) {
      response.statusCode = Number(statusCode);
      for (const [name, value] of Object.entries(headers)) response.setHeader(name, String(value));
      if (cookies.length > 0) response.setHeader('set-cookie', cookies);
    },
  });
  // The handler ends the stream, which may be after it returns: a pipe it started and did not wait for.
  await handler(event, /** @type {any} */ (out), /** @type {any} */ (context));
}

/** @param {IncomingMessage} request @param {ServerResponse} response @param {Claim} claim @returns {Context} */
function contextOf(request, response, claim) {
  const { headers } = request;
  const deadline = Number(headers['x-fn-deadline']) || Date.now() + claim.timeoutMs;
  const id = String(headers['x-fn-invocation-id'] ?? headers['x-request-id'] ?? '-');
  const queue = headers['x-fn-queue'];
  /** @type {AbortController | undefined} */
  let gone;
  return {
    awsRequestId: id,
    functionName: claim.function,
    functionVersion: claim.revision,
    invokedFunctionArn: `fn:${claim.function}:${claim.revision}`,
    memoryLimitInMB: String(Math.round(claim.memoryBytes / 2 ** 20)),
    logGroupName: `/fn/${claim.function}`,
    logStreamName: claim.instance,
    callbackWaitsForEmptyEventLoop: false,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
    get signal() {
      if (!gone) {
        const controller = new AbortController();
        gone = controller;
        response.once('close', () => response.writableFinished || controller.abort());
      }
      return gone.signal;
    },
    ...(queue !== undefined && {
      job: {
        queue: String(queue),
        name: String(headers['x-fn-job-name'] ?? ''),
        id,
        attempt: Number(headers['x-fn-attempt']) || 1,
      },
    }),
  };
}

/** @param {ServerResponse} response @param {number} status @param {unknown} body */
export function sendJson(response, status, body) {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** @param {IncomingMessage} request */
function typeOf(request) {
  return request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
}
