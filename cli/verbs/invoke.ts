/** `fn invoke`: calls a function through the gateway, at once or through its queue. The reply's body goes to standard output
 *  byte for byte. */

import { fstatSync, createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { isCallee } from '../../core/aliases.ts';
import { loadConfig } from '../../core/config.ts';
import { FnError } from '../../core/errors.ts';
import { Api, problemOf, unreachableAt } from '../api.ts';
import { INTERRUPTED, onInterrupt } from '../interrupt.ts';
import { waitForInvocation } from '../invocation.ts';
import { dim, printJson } from '../output.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '<name[@alias]>',
  count: { min: 1, max: 1 },
  help: [
    "Calls a function and prints the reply's body. With a body it is a POST, else a GET. What is piped in is the body. A",
    'reply with a status from 400 on makes exit code 1.',
  ].join('\n'),
  options: {
    data: { type: 'string', short: 'd', value: '<text>', help: 'The body' },
    file: { type: 'string', short: 'f', value: '<path>', help: 'The body is this file; - is standard input' },
    method: { type: 'string', short: 'X', value: '<method>', help: 'Another method than GET or POST' },
    path: { type: 'string', short: 'p', value: '</rest?query>', help: 'What follows /function/<name>' },
    header: { type: 'string', short: 'H', multiple: true, value: '<name: value>', help: 'A header; repeatable' },
    include: { type: 'boolean', short: 'i', help: 'Show the status, headers and time too, on standard error' },
    event: {
      type: 'boolean',
      short: 'e',
      help: 'The body is the event itself, the reply its bare result (event handlers)',
    },
    async: { type: 'boolean', short: 'a', help: 'Queue it and print its id' },
    wait: { type: 'boolean', short: 'w', help: 'With --async: wait for the result' },
  },
  examples: [
    ['fn invoke hello', 'GET /function/hello'],
    [`fn invoke hello --data '{"name":"you"}'`, 'POST JSON'],
    ['fn invoke thumbnail --file photo.jpg > small.jpg', 'Send a file, keep the reply'],
    ['cat page.md | fn invoke markdown', 'What is piped in is the body'],
    [`fn invoke stats --event --data '{"numbers":[1,2]}'`, 'An event handler gets exactly this event'],
    ['fn invoke words --async --wait --data "some text"', 'Through the queue; retried when it fails'],
  ],
  async run({ flags, positionals: [name = ''] }) {
    if (!isCallee(name)) throw new FnError('function.not_found', `"${name}" is no function's name`);
    if (flags.method !== undefined && !/^[A-Za-z-]+$/.test(flags.method)) {
      throw new FnError('usage.invalid', `"${flags.method}" is no method`);
    }
    if (flags.wait && !flags.async) throw new FnError('usage.invalid', '--wait needs --async');
    const config = loadConfig();
    const { gatewayUrl } = (await Api.open(config)).context;
    const signal = onInterrupt();
    const { body, type } = await bodyOf(flags);
    const contentType = flags.event ? EVENT_TYPE : type;
    const path = flags.path === undefined ? '' : flags.path.replace(/^(?![/?])/, '/');
    const url = `${gatewayUrl}/${flags.async ? 'async' : 'function'}/${name}${path}`;
    const began = performance.now();
    try {
      const response = await fetch(url, {
        method: flags.method ?? (body === undefined && !flags.async ? 'GET' : 'POST'),
        headers: headersOf(flags.header ?? [], contentType),
        redirect: 'manual',
        signal,
        ...(body !== undefined && { body, duplex: 'half' }),
      });
      const ms = performance.now() - began;
      if (response.headers.has('x-fn-error')) throw await problemOf(response);
      if (flags.async && response.status === 202) {
        const { id } = (await response.json()) as { id: string };
        return flags.wait ? await showResult(gatewayUrl, id, signal, flags.json) : showId(id, flags.json);
      }
      return await showReply(response, ms, flags);
    } catch (error) {
      if (signal.aborted) return INTERRUPTED;
      throw unreachableAt(gatewayUrl, error);
    }
  },
});

/** The body of a request with this type is the event, where others make an event of the whole request. */
const EVENT_TYPE = 'application/vnd.fn.event+json';

interface BodyFlags {
  readonly data?: string;
  readonly file?: string;
}

async function bodyOf({ data, file }: BodyFlags): Promise<{ body?: NonNullable<RequestInit['body']>; type?: string }> {
  if (data !== undefined && file !== undefined)
    throw new FnError('usage.invalid', '--data and --file exclude each other');
  if (data !== undefined) return { body: data, type: isJson(data) ? 'application/json' : 'text/plain;charset=utf-8' };
  if (file === '-' || (file === undefined && isPiped())) {
    return { body: Readable.toWeb(process.stdin) as ReadableStream, type: 'application/octet-stream' };
  }
  if (file === undefined) return {};
  const found = await stat(file).catch(() => undefined);
  if (!found?.isFile()) throw new FnError('usage.invalid', `${file} is ${found ? 'not a file' : 'not there'}`);
  const body = Readable.toWeb(createReadStream(file)) as ReadableStream;
  return { body, type: TYPES[file.slice(file.lastIndexOf('.')).toLowerCase()] ?? 'application/octet-stream' };
}

const TYPES: Readonly<Record<string, string>> = {
  '.json': 'application/json',
  '.txt': 'text/plain;charset=utf-8',
  '.md': 'text/markdown;charset=utf-8',
  '.html': 'text/html;charset=utf-8',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.jpeg': 'image/jpeg',
};

/** A pipe or a redirected file. A terminal, /dev/null, or the socket of a program that started us is no body. */
function isPiped(): boolean {
  try {
    const input = fstatSync(0);
    return input.isFIFO() || input.isFile();
  } catch {
    return false; // Closed.
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function headersOf(given: readonly string[], type: string | undefined): Headers {
  const headers = new Headers(type === undefined ? {} : { 'content-type': type });
  const seen = new Set<string>();
  for (const text of given) {
    const colon = text.indexOf(':');
    const name = text.slice(0, colon).trim().toLowerCase();
    if (colon < 1) throw new FnError('usage.invalid', `--header takes "name: value", not "${text}"`);
    try {
      if (seen.has(name)) headers.append(name, text.slice(colon + 1).trim());
      else headers.set(name, text.slice(colon + 1).trim());
    } catch {
      throw new FnError('usage.invalid', `"${text}" is not a valid header`);
    }
    seen.add(name);
  }
  return headers;
}

async function showReply(
  response: Response,
  ms: number,
  flags: { readonly json?: boolean; readonly include?: boolean },
): Promise<number> {
  const code = response.status < 400 ? 0 : 1;
  const headers = Object.fromEntries(response.headers);
  if (flags.json) {
    const bytes = Buffer.from(await response.arrayBuffer());
    const text = bytes.toString('utf8');
    const whole = Buffer.from(text).equals(bytes);
    const body = whole ? { body: text } : { body: bytes.toString('base64'), base64: true };
    printJson({ status: response.status, ms: Math.round(ms * 10) / 10, headers, ...body });
    return code;
  }
  if (flags.include || code !== 0) console.error(dim(`HTTP ${response.status}, ${ms.toFixed(1)} ms`));
  if (flags.include) for (const [key, value] of Object.entries(headers)) console.error(dim(`${key}: ${value}`));
  let last = 0;
  for await (const chunk of response.body ?? []) {
    last = (chunk as Uint8Array).at(-1) ?? last;
    if (!process.stdout.write(chunk as Uint8Array))
      await new Promise((drained) => process.stdout.once('drain', drained));
  }
  if (process.stdout.isTTY && last !== 10) process.stdout.write('\n');
  return code;
}

function showId(id: string, json: boolean | undefined): number {
  if (json) printJson({ id });
  else console.log(id);
  return 0;
}

async function showResult(
  gatewayUrl: string,
  id: string,
  signal: AbortSignal,
  json: boolean | undefined,
): Promise<number> {
  const status = await waitForInvocation(gatewayUrl, id, signal);
  if (json) printJson(status);
  else if (status.result)
    process.stdout.write(Buffer.from(status.result.body, status.result.base64 ? 'base64' : 'utf8'));
  return status.state === 'completed' ? 0 : 1;
}
