/** Marks what a function writes to stdout and stderr with the invocation it was written in, so that the platform can file
 *  it: `\x1e<id> ` before every line. Lines written outside of an invocation stay as they are. While nobody reads the
 *  pipe, at most 1 MiB waits in memory; what is over that is dropped and counted. */

/** @import { IncomingMessage, ServerResponse } from 'node:http' */
/** @import { Serve } from './types.d.ts' */

const { AsyncLocalStorage } = process.getBuiltinModule('node:async_hooks');
const { writeSync } = process.getBuiltinModule('node:fs');

const MARK = '\x1e';
const WAITING_LIMIT = 2 ** 20;

/** @type {import('node:async_hooks').AsyncLocalStorage<string>} */
const invocation = new AsyncLocalStorage();

/** Runs what belongs to one invocation.
 *  @param {string} id @param {Serve} serve @param {IncomingMessage} request @param {ServerResponse} response */
export function inInvocation(id, serve, request, response) {
  invocation.run(id, serve, request, response);
}

export function captureLogs() {
  capture(process.stdout);
  capture(process.stderr);
}

/** Writes an error at once, even right before the process ends.
 *  @param {string} text */
export function logError(text) {
  const id = invocation.getStore();
  try {
    writeSync(2, id === undefined ? `${text}\n` : marked(`${text}\n`, id));
  } catch {
    // The pipe is full or gone: there is nowhere left to say it.
  }
}

/** @param {string} text @param {string} id */
function marked(text, id) {
  const mark = `${MARK}${id} `;
  const body = text.endsWith('\n') ? text.slice(0, -1) : text;
  return mark + body.replaceAll('\n', `\n${mark}`) + text.slice(body.length);
}

/** @param {NodeJS.WriteStream} stream */
function capture(stream) {
  const write = /** @type {(text: string | Uint8Array, done?: (error?: Error | null) => void) => boolean} */ (
    stream.write.bind(stream)
  );
  /** Whose line is unfinished; undefined at the start of a line. @type {{ id: string | undefined } | undefined} */
  let open;
  let dropped = 0;

  /** @param {any} chunk @param {any} [encoding] @param {any} [callback] */
  stream.write = (chunk, encoding, callback) => {
    const done = typeof encoding === 'function' ? encoding : callback;
    const id = invocation.getStore();
    const text = textOf(chunk);
    if (stream.writableLength + text.length > WAITING_LIMIT) {
      dropped += text.length;
      if (done) process.nextTick(done);
      return true;
    }
    let out = '';
    if (dropped > 0) {
      out += `${open ? '\n' : ''}[fn] ${dropped} characters of log dropped: nobody read them in time\n`;
      open = undefined;
      dropped = 0;
    }
    if (text !== '') {
      const continues = open !== undefined && open.id === id;
      if (open !== undefined && !continues) out += '\n';
      const lines = id === undefined ? text : marked(text, id);
      out += continues && id !== undefined ? lines.slice(MARK.length + id.length + 1) : lines;
      open = text.endsWith('\n') ? undefined : { id };
    }
    return write(out, done);
  };
}

/** @param {string | Uint8Array} chunk */
function textOf(chunk) {
  if (typeof chunk === 'string') return chunk;
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString();
}
