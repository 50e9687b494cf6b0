/** The head of a function's reply, read as strictly as a request: a function is hostile, and a reply that two readers can
 *  take apart differently would let it write into replies of others behind a shared connection further out. */

import { BodyFields } from './body-fields.ts';
import { FieldLines, listMembers } from './fields.ts';

/** Longest reply head, bytes. */
export const REPLY_HEAD_MAX = 64 * 1024;

export interface ReplyHead {
  readonly status: number;
  readonly reason: string;
  /** -1 when there is none. */
  readonly contentLength: number;
  readonly chunked: boolean;
  /** The connection can carry another request. */
  readonly keepAlive: boolean;
  /** The function's server closes an idle connection after so many seconds; 0 when it does not say. */
  readonly idleSeconds: number;
  readonly dated: boolean;
  /** 101 to a WebSocket request. */
  readonly upgrade: string;
  /** The lines that pass to the client, verbatim, each with its CRLF. */
  readonly fields: string;
}

/** Why a reply cannot be passed on: the detail of `function.bad_reply`. */
export class BadReply extends Error {
  override readonly name = 'BadReply';
}

const lines = new FieldLines();
const body = new BodyFields();

/** @param text the head as latin1, up to and including the CRLF of its last line, without the empty line. */
export function parseReplyHead(text: string): ReplyHead {
  const http11 = text.startsWith('HTTP/1.1 ');
  if (!http11 && !text.startsWith('HTTP/1.0 ')) throw new BadReply('it does not begin with an HTTP/1.1 status line');
  const status = digits(text, 9);
  if (status < 100) throw new BadReply('its status is not three digits');
  let at = 12;
  if (text.charCodeAt(at) === 32) at++;
  else if (text.charCodeAt(at) !== 13) throw new BadReply('its status is not three digits');
  const reasonStart = at;
  let code = text.charCodeAt(at);
  while ((code >= 32 && code !== 127) || code === 9) code = text.charCodeAt(++at);
  if (code !== 13 || text.charCodeAt(at + 1) !== 10) throw new BadReply('a control character in its status line');
  const reason = text.substring(reasonStart, at);
  let wrong = lines.scan(text, at + 2);
  if (wrong !== undefined) throw new BadReply(wrong);
  body.begin();

  let connection: string[] | undefined;
  let idleSeconds = 0;
  let dated = false;
  let upgrade = '';
  for (let line = 0; line < lines.count; line++) {
    const kind = kindOf(text, line);
    if (kind === '') continue;
    if (lines.hasUnderscore(text, line)) {
      lines.dropped[line] = 1;
      continue;
    }
    switch (kind) {
      case 'date':
        dated = true;
        break;
      case 'content-length':
        wrong = body.length(lines.value(text, line));
        lines.dropped[line] = 1;
        break;
      case 'transfer-encoding':
        wrong = body.coding(lines.value(text, line));
        lines.dropped[line] = 1;
        break;
      case 'connection': {
        const value = lines.value(text, line);
        connection = value === 'keep-alive' ? KEEP_ALIVE : (connection ?? []).concat(listMembers(value));
        lines.dropped[line] = 1;
        break;
      }
      case 'keep-alive':
        idleSeconds = Number(/timeout=(\d{1,6})/.exec(lines.value(text, line))?.[1] ?? 0);
        lines.dropped[line] = 1;
        break;
      case 'upgrade':
        upgrade = lines.value(text, line);
        lines.dropped[line] = 1;
        break;
      default: // 'own'
        lines.dropped[line] = 1;
    }
    if (wrong !== undefined) throw new BadReply(wrong);
  }
  wrong = body.end(http11);
  if (wrong !== undefined) throw new BadReply(wrong);
  const { contentLength, chunked } = body;
  let keepAlive = http11;
  if (connection !== undefined && connection !== KEEP_ALIVE) {
    keepAlive &&= !connection.includes('close');
    const named = connection.filter((member) => !NOT_DROPPABLE.has(member));
    if (named.length > 0) lines.dropNamed(text, new Set(named));
  }
  return {
    status,
    reason,
    contentLength,
    chunked,
    keepAlive,
    idleSeconds,
    dated,
    upgrade,
    fields: lines.kept(text),
  };
}

const KEEP_ALIVE: string[] = ['keep-alive'];
const NOT_DROPPABLE: ReadonlySet<string> = new Set(['close', 'keep-alive', 'upgrade', 'date', 'content-type']);

function digits(text: string, at: number): number {
  let value = 0;
  for (let i = at; i < at + 3; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (!(digit >= 0 && digit <= 9)) return -1;
    value = value * 10 + digit;
  }
  return value;
}

function kindOf(text: string, line: number): string {
  const start = lines.start[line]!;
  const length = lines.nameEnd[line]! - start;
  switch (text.charCodeAt(start) | 32) {
    case 99: // c
      if (length === 14 && lines.is(text, line, 'content-length')) return 'content-length';
      return length === 10 && lines.is(text, line, 'connection') ? 'connection' : '';
    case 100: // d
      return length === 4 && lines.is(text, line, 'date') ? 'date' : '';
    case 107: // k
      return length === 10 && lines.is(text, line, 'keep-alive') ? 'keep-alive' : '';
    case 112: // p
      return length > 5 && lines.hasPrefix(text, line, 'proxy-') ? 'own' : '';
    case 116: // t
      if (length === 17 && lines.is(text, line, 'transfer-encoding')) return 'transfer-encoding';
      return length === 2 && lines.is(text, line, 'te') ? 'own' : '';
    case 117: // u
      return length === 7 && lines.is(text, line, 'upgrade') ? 'upgrade' : '';
    case 120: // x
      if (length === 12 && lines.is(text, line, 'x-request-id')) return 'own';
      if (length === 19 && lines.is(text, line, 'x-fn-function-error')) return ''; // The runtime's word, not ours.
      return lines.hasPrefix(text, line, 'x-fn-') ? 'own' : '';
    default:
      return '';
  }
}
