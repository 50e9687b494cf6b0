/** The first code of every node sandbox. It knows no function yet: it serves the listening unix socket it inherited
 *  (fd 3) until one claim names the function, loads the handler from /task, and from then on hands every request to it.
 *  Started without that socket (podman run), it reads the same facts from the environment and listens on $PORT.
 *
 *  It is started before it is needed and one copy waits per warm sandbox, so every module it does not load saves memory
 *  in each, and time in those that are started for one call. In particular nothing here may touch node:http before a handler
 *  needs it, nor the globals Request and Response: those load undici, which takes 5 MiB and 20 ms. */

import { Connection } from './connection.mjs';
import { describeError } from './errors.mjs';
import { installAwsLambda, sendJson } from './event.mjs';
import { installFetch } from './fetch/install.mjs';
import { loadHandler } from './load.mjs';
import { captureLogs, inInvocation, logError } from './logs.mjs';

/** @import { ServerResponse } from 'node:http' */
/** @import { Socket } from 'node:net' */
/** @import { Claim, Handle, LoadedHandler, Serve } from './types.d.ts' */

/** What the worker may ask. */
const CLAIM = 'POST /_fn/claim';
const HEALTH = 'GET /_fn/health';
const CODE = 'GET /_fn/code';
/** No caller can send it. */
const WORKER_FIELD = '\r\nx-fn-worker: ';
const HEAD_OVER = '\r\n\r\n';
const DEADLINE = 'x-fn-deadline';
const LISTEN_FD = 3;
const DEFAULT_MEMORY = 256 * 2 ** 20;
const DEFAULT_TIMEOUT_MS = 30_000;

/** Of the packed bootstrap. */
const ownCode = typeof compiledCode === 'undefined' ? undefined : compiledCode;
const net = process.getBuiltinModule('node:net');
const root = process.env['FN_TASK'] ?? '/task';

/** Takes connections: at first finds out who calls, then hands them to the function. */
let accept = greet;
/** Connections of callers, and those on which nothing was said yet: the gateway sends calls when it hears of the claim, and
 *  is faster than the function.
 *  @type {Set<Socket>} */
const early = new Set();
let inFlight = 0;
let ending = false;

const server = net.createServer({ allowHalfOpen: true }, (socket) => accept(socket));

/** Before the claim a call must not pass for it: whoever claims says what runs, and with which environment. The worker
 *  writes a head in one piece.
 *  @param {Socket} socket */
function greet(socket) {
  keep(socket);
  socket.once('data', (chunk) => {
    const bytes = /** @type {Buffer} */ (chunk);
    const text = bytes.toString('latin1');
    if (text.lastIndexOf(WORKER_FIELD, text.indexOf(HEAD_OVER)) < 0) {
      socket.pause();
      socket.unshift(bytes);
    } else {
      early.delete(socket);
      listen(socket, text);
    }
  });
}

/** Until there is a function. @param {Socket} socket */
function keep(socket) {
  early.add(socket);
  socket.on('error', ignore);
  socket.once('close', forget);
}

function ignore() {} // 'close' follows.

/** @this {Socket} */
function forget() {
  early.delete(this);
}

/** To the worker, which asks one thing at a time. Its HTTP needs no more than this, and a connection like those of callers
 *  would have node compile 3 ms of code that a call without a body never needs.
 *  @param {Socket} socket @param {string} text the first of it */
function listen(socket, text) {
  const answer = () => {
    const headEnd = text.indexOf(HEAD_OVER);
    if (headEnd < 0) return;
    const length = /\r\ncontent-length: (\d+)\r\n/.exec(text)?.[1] ?? '0';
    const body = text.slice(headEnd + HEAD_OVER.length);
    if (body.length < Number(length)) return;
    const [request] = text.split(' HTTP/', 1);
    text = '';
    if (request === HEALTH) void healthy(socket);
    else if (request === CODE) void giveCode(socket);
    else if (request === CLAIM && accept === greet) {
      socket.off('data', read).off('end', end);
      void claimed(socket, Buffer.from(body, 'latin1').toString());
    } else socket.destroy();
  };
  /** @param {Buffer} chunk */
  const read = (chunk) => {
    text += chunk.toString('latin1');
    answer();
  };
  const end = () => void socket.end();
  socket.on('data', read).on('end', end);
  answer();
}

/** @param {Socket} socket @param {number} status @param {unknown} body @param {() => void} [sent] */
function reply(socket, status, body, sent) {
  const text = JSON.stringify(body);
  socket.write(`HTTP/1.1 ${status} \r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`, sent);
}

/** Answers every request with the function, and its failures with 500. An invocation is filed under the id the platform
 *  gave it.
 *  @param {Handle} handle @returns {Serve} */
function invoke(handle) {
  /** @type {Serve} */
  const invocation = (request, response) => {
    try {
      const running = handle(request, response);
      // A listener may return anything, such as what its last call returned.
      if (typeof running?.then === 'function') running.then(undefined, (error) => fail(error, response));
    } catch (error) {
      fail(error, response);
    }
  };
  return (request, response) => {
    inFlight++;
    response.once('close', finished);
    const id = request.headers['x-fn-invocation-id'] ?? request.headers['x-request-id'] ?? '-';
    inInvocation(String(id), invocation, request, response);
  };
}

/** @param {unknown} thrown @param {ServerResponse} response */
function fail(thrown, response) {
  const { name, message, stack } = describeError(thrown, root);
  logError(stack);
  if (response.headersSent) response.destroy();
  else {
    response.setHeader('x-fn-function-error', 'Unhandled');
    sendJson(response, 500, { errorType: name, errorMessage: message });
  }
}

function finished() {
  inFlight--;
  if (ending && inFlight === 0) process.exit(0);
}

/** The time an invocation has counts from when the function was loaded, for those that were sent before.
 *  @param {Serve} serveIt @param {Claim} claim @returns {Serve} */
function fromNow(serveIt, claim) {
  const loadedAt = Date.now();
  const due = loadedAt + claim.timeoutMs;
  return (request, response) => {
    const deadline = Number(request.headers[DEADLINE]);
    if (deadline < due) {
      if (deadline <= loadedAt) {
        response.destroy(); // The gateway has given it up.
        return;
      }
      request.headers[DEADLINE] = request.rawHeaders[request.rawHeaders.lastIndexOf(DEADLINE) + 1] = String(due);
    }
    serveIt(request, response);
  };
}

/** Asked once by whoever keeps this sandbox for later: there is time to warm up.
 *  @param {Socket} socket */
async function healthy(socket) {
  await (await import('./warm.mjs')).warmUp({ become, serverOf });
  reply(socket, 200, { claimed: false, compiled: ownCode?.isUsed ?? false });
}

/** What V8 has made of this file, once it has run the whole way of a claim and a call. It is good for nothing else then.
 *  @param {Socket} socket */
async function giveCode(socket) {
  await (await import('./warm.mjs')).rehearse({ connect: (one) => accept(one), root });
  reply(socket, 200, { code: ownCode?.make().toString('base64') });
}

/** @param {Socket} socket the worker's, which is one like any other once there is a function @param {string} text */
async function claimed(socket, text) {
  const startedAt = process.hrtime.bigint();
  accept = hold;
  try {
    /** @type {Claim} */
    const claim = JSON.parse(text);
    accept = serverOf(await become(claim), (serve) => fromNow(serve, claim));
    reply(socket, 200, { ready: true, ms: Number(process.hrtime.bigint() - startedAt) / 1e6 });
    for (const one of [...early, socket]) {
      one.off('error', ignore).off('close', forget).removeAllListeners('data');
      accept(one);
      one.resume();
    }
    early.clear();
  } catch (error) {
    const description = describeError(error, root);
    logError(description.stack);
    reply(socket, 500, { error: description }, () => process.exit(1));
  }
}

/** @param {Socket} socket */
function hold(socket) {
  keep(socket);
  socket.pause();
}

/** What takes connections and answers what comes over them. A handler of node's shape gets what node's own server makes of them.
 *  @param {LoadedHandler} handler @param {(serve: Serve) => Serve} [around] @returns {(socket: Socket) => void} */
function serverOf({ shape, handle }, around = (serve) => serve) {
  const serve = around(invoke(handle));
  if (shape !== 'node') return (socket) => void new Connection(socket, serve);
  const nodeServer = createHttpServer(serve);
  return (socket) => void nodeServer.emit('connection', socket);
}

/** @param {Serve} serve */
function createHttpServer(serve) {
  return process.getBuiltinModule('node:http').createServer(
    {
      // The gateway is the only client and has the limits; this side is never the first to close or to refuse.
      keepAliveTimeout: 0,
      requestTimeout: 0,
      headersTimeout: 0,
      connectionsCheckingInterval: 2 ** 31 - 1,
      maxHeaderSize: 256 * 1024,
      requireHostHeader: false,
    },
    (request, response) => {
      response.sendDate = false;
      serve(request, response);
    },
  );
}

/** @param {Claim} claim @param {string} [directory] where its code is @returns {Promise<LoadedHandler>} */
async function become(claim, directory = root) {
  Object.assign(process.env, claim.env);
  process.env['FN_FUNCTION'] = claim.function;
  process.env['FN_REVISION'] = claim.revision;
  process.env['FN_INSTANCE'] = claim.instance;
  process.chdir(directory);
  if (claim.env['FN_TYPESCRIPT'] === '1') (await import('./typescript.mjs')).resolveTypeScript();
  return loadHandler(claim, directory);
}

function listenForClaim() {
  server.listen({ fd: LISTEN_FD });
}

async function listenOnPort() {
  const { FN_FUNCTION = 'function', FN_HANDLER = 'index.default', FN_MEMORY, FN_TIMEOUT_MS, PORT } = process.env;
  /** @type {LoadedHandler} */
  let handler;
  try {
    handler = await become({
      function: FN_FUNCTION,
      revision: process.env['FN_REVISION'] ?? `${FN_FUNCTION}-00000`,
      instance: process.env['FN_INSTANCE'] ?? `${FN_FUNCTION}-standalone`,
      handler: FN_HANDLER,
      env: process.env['FN_TYPESCRIPT'] === '1' ? { FN_TYPESCRIPT: '1' } : {},
      timeoutMs: Number(FN_TIMEOUT_MS) || DEFAULT_TIMEOUT_MS,
      memoryBytes: Number(FN_MEMORY) || DEFAULT_MEMORY,
    });
  } catch (error) {
    logError(describeError(error, root).stack);
    process.exit(1);
  }
  const port = Number(PORT || 8080);
  createHttpServer(invoke(handler.handle)).listen(port, '0.0.0.0', () =>
    console.error(`${FN_FUNCTION} listens on port ${port}`),
  );
}

captureLogs();
installFetch();
installAwsLambda();

// An error nobody caught leaves the instance in an unknown state: it ends, and the gateway reports that it crashed. A
// function that listens for such errors itself has taken that decision over.
process.on('uncaughtException', (error) => {
  if (process.listenerCount('uncaughtException') > 1) return;
  logError(describeError(error, root).stack);
  process.exit(1);
});

process.on('SIGTERM', () => {
  if (inFlight === 0) process.exit(0);
  ending = true;
  server.close();
});

if (process.env['FN_SANDBOX'] === '1') listenForClaim();
else void listenOnPort();
