import { describe, expect, it } from 'vitest';
import { FnError } from '../../core/errors.ts';
import { BodyScanner } from '../../gateway/http/body.ts';
import { BadReply, parseReplyHead } from '../../gateway/http/parse-reply.ts';
import { parseRequestHead, type RequestHead } from '../../gateway/http/parse-request.ts';
import { randomSource, type Random } from './support/random.ts';

/** Inputs for each property; FN_FUZZ=1000000 for the long run. The seed is printed with what fails. */
const ROUNDS = Number(process.env['FN_FUZZ'] ?? 100_000);
const SEED = Number(process.env['FN_SEED'] ?? Math.floor(Math.random() * 2 ** 32));

const METHODS = ['GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'get', 'M-SEARCH', 'P\0ST', '', 'CONNECT'];
const TARGETS = [
  '/',
  '/function/a',
  '/function/a/b?c',
  '*',
  'http://h/x',
  'http://h',
  'x',
  '/a b',
  '/\x7f',
  '/%00',
  '//',
];
const VERSIONS = ['HTTP/1.1', 'HTTP/1.0', 'HTTP/1.1 ', 'HTTP/2.0', 'http/1.1', 'HTTP/1.10', ''];
const NAMES = (
  'Host|Content-Length|Transfer-Encoding|Connection|Upgrade|Expect|X-Fn-Queue|X-A|TE|content_length|Transfer-Encoding |' +
  ' Host|X\0||Forwarded|traceparent|Keep-Alive|hOsT'
).split('|');
const VALUES = (
  'a|a:80|5|0|05|5, 5|-1|+1|0x5|1e3|chunked|Chunked|chunked, chunked|close|keep-alive, X-A|upgrade|websocket|h2c|' +
  '100-continue| \t x \t||a\rb|a\nb|a\0b|\xff|99999999999999999999|9007199254740992|a@b|[::1]:1|x\r\n y|' +
  '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
).split('|');
const ENDS = ['\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\n', '\r', '\r\r\n', '\n\r\n'];

function requestText(random: Random): string {
  let text = `${random.pick(METHODS)} ${random.pick(TARGETS)} ${random.pick(VERSIONS)}${random.pick(ENDS)}`;
  if (random.chance(0.7)) text = `${random.pick(['GET', 'POST'])} /function/a HTTP/1.1\r\n`;
  if (random.chance(0.8)) text += 'Host: a\r\n';
  for (let n = random.below(5); n > 0; n--) {
    text += `${random.pick(NAMES)}${random.chance(0.95) ? ':' : ''}${random.pick(['', ' ', '\t'])}${random.pick(VALUES)}${random.pick(ENDS)}`;
  }
  return random.chance(0.2) ? mutate(text, random) : text;
}

/** Changes, drops, doubles or inserts a byte here and there. */
function mutate(text: string, random: Random): string {
  let out = text;
  for (let n = 1 + random.below(3); n > 0; n--) {
    const at = random.below(out.length + 1);
    const byte = String.fromCharCode(random.below(256));
    const kind = random.below(4);
    if (kind === 0) out = out.slice(0, at) + byte + out.slice(at + 1);
    else if (kind === 1) out = out.slice(0, at) + out.slice(at + 1);
    else if (kind === 2) out = out.slice(0, at) + byte + out.slice(at);
    else out = out.slice(0, at) + out.slice(Math.max(0, at - 5));
  }
  return out;
}

/** What must hold of every head that is accepted, whatever the bytes were: written out, it has one reading. */
function checkAccepted(head: RequestHead, text: string, trusted: boolean): string | undefined {
  if (!/^[A-Z_-]{1,32}$/.test(head.method)) return 'the method';
  if (!/^(?:\/[!-~]*|\*)$/.test(head.target) || head.target.includes('#')) return 'the target';
  if (head.fields !== '' && !/^(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+$/.test(head.fields))
    return 'a line';
  if (head.chunked && head.contentLength !== -1) return 'both framings';
  if (head.chunked && head.http10) return 'chunked in 1.0';
  if (!Number.isSafeInteger(head.contentLength) || head.contentLength < -1) return 'the length';
  if (!head.http10 && head.host === '') return 'the host';
  const names = head.fields.split('\r\n').map((line) => line.slice(0, line.indexOf(':')).toLowerCase());
  for (const name of names) {
    if (
      /^(?:content[-_]length|transfer[-_]encoding|connection|upgrade|te|keep[-_]alive|forwarded|x[-_]forwarded[-_].*)$/.test(
        name,
      )
    )
      return name;
    if (!trusted && /^x[-_]fn[-_]/.test(name)) return name;
  }
  if (names.filter((name) => name === 'host').length > 1) return 'two hosts';
  const lengths = text.match(/^content-length[ \t]*:/gim) ?? [];
  if (lengths.length > 1) return 'two lengths';
  return undefined;
}

describe('the request parser', () => {
  it(`accepts only heads with one reading (${ROUNDS} inputs)`, () => {
    const random = randomSource(SEED);
    let accepted = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const text = requestText(random);
      const trusted = random.chance(0.1);
      let head: RequestHead;
      try {
        head = parseRequestHead(text, trusted);
      } catch (error) {
        if (!(error instanceof FnError)) throw new Error(`seed ${SEED}: ${JSON.stringify(text)}`, { cause: error });
        continue;
      }
      accepted++;
      const wrong = checkAccepted(head, text, trusted);
      if (wrong !== undefined) throw new Error(`seed ${SEED}: ${wrong} in ${JSON.stringify(text)}`);
    }
    expect(accepted).toBeGreaterThan(ROUNDS / 50);
  }, 600_000);

  it(`reads what it accepted the same way again (${ROUNDS} inputs)`, () => {
    const random = randomSource(SEED + 1);
    for (let round = 0; round < ROUNDS; round++) {
      const text = requestText(random);
      try {
        const head = parseRequestHead(text, false);
        const framing = head.chunked ? 'transfer-encoding: chunked\r\n' : '';
        const length = head.contentLength >= 0 ? `content-length: ${head.contentLength}\r\n` : '';
        const host = head.host === '' ? 'host: x\r\n' : '';
        const again = parseRequestHead(
          `${head.method} ${head.target} HTTP/1.1\r\n${host}${head.fields}${length}${framing}`,
          false,
        );
        const { method, target, contentLength, chunked, fields } = head;
        if (again.fields !== host + fields || again.contentLength !== contentLength) throw new Error('fields differ');
        if (again.method !== method || again.target !== target || again.chunked !== chunked)
          throw new Error('it differs');
      } catch (error) {
        if (!(error instanceof FnError) || error.code !== 'request.invalid') {
          throw new Error(`seed ${SEED}: ${JSON.stringify(text)}`, { cause: error });
        }
      }
    }
    expect.hasAssertions();
    expect(SEED).toBeGreaterThanOrEqual(0);
  }, 600_000);
});

describe('the reply parser', () => {
  it(`accepts only heads with one reading (${ROUNDS} inputs)`, () => {
    const random = randomSource(SEED + 2);
    const starts = [
      'HTTP/1.1 200 OK',
      'HTTP/1.1 204',
      'HTTP/1.0 200 OK',
      'HTTP/1.1 99 x',
      'HTTP/1.1 2000',
      'HTTP/2 200',
    ];
    let accepted = 0;
    for (let round = 0; round < ROUNDS; round++) {
      let text = `${random.chance(0.7) ? 'HTTP/1.1 200 OK' : random.pick(starts)}${random.pick(ENDS)}`;
      for (let n = random.below(5); n > 0; n--)
        text += `${random.pick(NAMES)}: ${random.pick(VALUES)}${random.pick(ENDS)}`;
      if (random.chance(0.3)) text = mutate(text, random);
      try {
        const head = parseReplyHead(text);
        accepted++;
        const isClean = head.fields === '' || /^(?:[!-9;-~]+:[\t\x20-\x7e\x80-\xff]*\r\n)+$/.test(head.fields);
        const isFramed = !(head.chunked && head.contentLength >= 0) && head.contentLength >= -1;
        const hasNone = !/^(?:content-length|transfer-encoding|connection|keep-alive|x-fn-queue)[ \t]*:/im.test(
          head.fields,
        );
        if (!isClean || !isFramed || !hasNone || head.status < 100 || head.status > 999) throw new Error('not clean');
      } catch (error) {
        if (!(error instanceof BadReply)) throw new Error(`seed ${SEED}: ${JSON.stringify(text)}`, { cause: error });
      }
    }
    expect(accepted).toBeGreaterThan(ROUNDS / 50);
  }, 600_000);
});

/** A chunked body read the slow and obvious way: the oracle. Undefined when it is malformed or incomplete. */
function readChunked(text: string): { payload: string; rest: string } | undefined {
  let payload = '';
  let at = 0;
  for (;;) {
    const line = /^([0-9a-f]{1,12})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n/i.exec(text.slice(at));
    if (!line) return undefined;
    at += line[0].length;
    const size = Number.parseInt(line[1]!, 16);
    if (size === 0) break;
    payload += text.slice(at, at + size);
    at += size;
    if (text.slice(at, at + 2) !== '\r\n') return undefined;
    at += 2;
  }
  const trailers = /^(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n/.exec(text.slice(at));
  if (!trailers) return undefined;
  const framing = /^(?:content[-_]length|transfer[-_]encoding|host|trailer|connection|upgrade|te|expect):/im;
  return framing.test(trailers[0]) ? undefined : { payload, rest: text.slice(at + trailers[0].length) };
}

/** Feeds the scanner in random pieces. */
function scanChunked(text: string, random: Random): { payload: string; rest: string } | undefined {
  const body = new BodyScanner();
  body.beginChunked();
  let payload = '';
  for (let at = 0; at < text.length;) {
    const piece = Buffer.from(text.slice(at, at + 1 + random.below(random.chance(0.5) ? 3 : 50)), 'latin1');
    let used = 0;
    while (used < piece.length && !body.done) {
      used = body.next(piece, used, piece.length);
      if (used < 0) return undefined;
      payload += piece.toString('latin1', body.start, body.end);
    }
    at += used;
    if (body.done) return { payload, rest: text.slice(at) };
  }
  return undefined;
}

describe('the chunk scanner', () => {
  it(`agrees with an obvious one, however the bytes are divided (${ROUNDS} inputs)`, () => {
    const random = randomSource(SEED + 3);
    const lines = [
      '0',
      '0',
      '1',
      '3',
      '5',
      '05',
      '5;a=b',
      '5 ',
      ' 5',
      '0x3',
      '-1',
      '+1',
      'g',
      '',
      '3;\0',
      'A',
      '3;"x"',
    ];
    const trailers = [
      '',
      '',
      '',
      'X-A: 1\r\n',
      'Content-Length: 1\r\n',
      'X-A : 1\r\n',
      ' folded\r\n',
      'X-A: 1\n',
      'content_length: 4\r\n',
    ];
    let accepted = 0;
    for (let round = 0; round < ROUNDS; round++) {
      let text = '';
      for (let n = random.below(4); n > 0; n--) {
        const line = random.pick(lines);
        const size = Number.parseInt(line, 16) || 0;
        text += `${line}${random.pick(ENDS)}${'x'.repeat(Math.max(0, random.chance(0.9) ? size : size + 1))}\r\n`;
      }
      if (random.chance(0.9)) text += `0\r\n${random.pick(trailers)}\r\n`;
      text += random.pick(['', 'GET / HTTP/1.1\r\n\r\n', '\r\n']);
      if (random.chance(0.2)) text = mutate(text, random);
      const expected = readChunked(text);
      const actual = scanChunked(text, random);
      if (expected) accepted++;
      if (JSON.stringify(expected) !== JSON.stringify(actual)) {
        throw new Error(`seed ${SEED}: ${JSON.stringify({ text, expected, actual })}`);
      }
    }
    expect(accepted).toBeGreaterThan(ROUNDS / 50);
  }, 600_000);

  it('takes as many chunks as come, and a size of 16 digits but not of 17', () => {
    const many = '10\r\n0123456789abcdef\r\n'.repeat(20_000);
    const random = randomSource(SEED + 4);
    expect(scanChunked(`${many}0\r\n\r\n`, random)?.payload).toHaveLength(320_000);
    expect(scanChunked('0000000000000001\r\nx\r\n0\r\n\r\n', random)?.payload).toBe('x');
    expect(scanChunked('00000000000000001\r\nx\r\n0\r\n\r\n', random)).toBeUndefined();
  });
});
