import { expect, it } from 'vitest';
import { FnError } from '../../core/errors.ts';
import { parseRequestHead } from '../../gateway/http/parse-request.ts';
import { toHttp1 } from '../../gateway/http2/request.ts';
import { randomSource, type Random } from './support/random.ts';

/** Inputs; FN_FUZZ=1000000 for the long run. The seed is printed with what fails. */
const ROUNDS = Number(process.env['FN_FUZZ'] ?? 100_000);
const SEED = Number(process.env['FN_SEED'] ?? Math.floor(Math.random() * 2 ** 32));

const PIECES = [
  'GET',
  'POST',
  'a',
  '/',
  '/a?b',
  '*',
  ' ',
  '\r\n',
  '\n',
  '\r',
  '\0',
  ':',
  'HTTP/1.1',
  '\x7f',
  '\xe9',
  '5',
  '0',
  'x-a',
  '\r\n\r\n',
];
const NAMES = [
  ':method',
  ':path',
  ':authority',
  ':scheme',
  'host',
  'cookie',
  'content-length',
  'transfer-encoding',
  'connection',
];
const MORE = [
  'expect',
  'x-fn-queue',
  'x-a',
  'te',
  'upgrade',
  'content_length',
  'x-forwarded-for',
  'forwarded',
  'Host',
  '',
];

function text(random: Random): string {
  let out = '';
  for (let n = 1 + random.below(3); n > 0; n--) out += random.pick(PIECES);
  return out;
}

function fields(random: Random): string[] {
  const raw = [':method', random.chance(0.5) ? 'GET' : 'POST', ':scheme', 'http', ':path', '/a', ':authority', 'a'];
  for (let n = random.below(5); n > 0; n--) {
    const name = random.chance(0.05) ? text(random) : random.pick(random.chance(0.3) ? NAMES : MORE);
    raw.push(name, random.chance(0.5) ? text(random) : random.pick(['a', '5', 'chunked', '100-continue', 'b=c']));
  }
  for (let at = 1; at < 8; at += 2) if (random.chance(0.15)) raw[at] = text(random);
  return raw;
}

/** What must hold of everything that is accepted. */
function wrongWith(raw: readonly string[], hasBody: boolean): string | undefined {
  const request = toHttp1(raw, hasBody);
  // One head: the empty line is at its end and nowhere before, and no line ends in anything but CRLF.
  if (request.head.indexOf('\r\n\r\n') !== request.head.length - 4) return 'two heads';
  if (/[^\r]\n|\r[^\n]/.test(request.head)) return 'a line that ends early';
  const head = parseRequestHead(request.head.slice(0, -2), false);
  const value = (name: string): string | undefined => raw[raw.indexOf(name) + 1];
  if (head.keepAlive) return 'room for another request';
  if (head.method !== value(':method')) return 'the method';
  if (head.host !== value(':authority')) return 'the host';
  if (head.chunked !== (hasBody && !raw.includes('content-length') && head.method !== 'CONNECT')) return 'the framing';
  return head.method === 'CONNECT' || head.target === value(':path') ? undefined : 'the path';
}

it(`what comes over HTTP/2 is one request of HTTP/1.1 with the same method, path and host (${ROUNDS} inputs)`, () => {
  const random = randomSource(SEED);
  let accepted = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const raw = fields(random);
    try {
      const wrong = wrongWith(raw, random.chance(0.5));
      if (wrong !== undefined) throw new Error(wrong);
      accepted++;
    } catch (error) {
      if (!(error instanceof FnError)) throw new Error(`seed ${SEED}: ${JSON.stringify(raw)}`, { cause: error });
    }
  }
  expect(accepted).toBeGreaterThan(ROUNDS / 50);
}, 600_000);
