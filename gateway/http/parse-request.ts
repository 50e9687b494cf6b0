/** The head of a request, read strictly by RFC 9112: one reading or none. Anything ambiguous (two lengths, a length and a
 *  coding, a coding we do not undo, two hosts, an odd version) throws `request.invalid`, and the connection closes.
 *
 *  What the function gets is written from the result: the method, the target, and `fields`, the lines that may pass. Fields
 *  that concern one hop only, that we set ourselves, or that only the platform may set are not among them. */

import { FnError } from '../../core/errors.ts';
import { isTraceparent } from '../../core/tracer.ts';
import { BodyFields } from './body-fields.ts';
import { FieldLines, listMembers } from './fields.ts';
import { latin1 } from './latin1.ts';

/** Longest head, bytes. Node's own server takes 16 KiB with our fields added. */
export const HEAD_MAX = 15 * 1024;

export interface RequestHead {
  readonly method: string;
  /** Origin form: path and query, as they came. */
  readonly target: string;
  readonly http10: boolean;
  /** Empty only in HTTP/1.0. */
  readonly host: string;
  /** -1 when there is none. */
  readonly contentLength: number;
  readonly chunked: boolean;
  /** The connection stays open after the reply. */
  readonly keepAlive: boolean;
  readonly expectContinue: boolean;
  readonly webSocket: boolean;
  readonly requestId: string | undefined;
  /** The job that this is an attempt of, which came over the internal socket; it is also among the fields. */
  readonly invocation: string | undefined;
  /** A valid W3C trace context, which is also among the fields; else empty. */
  readonly traceparent: string;
  /** The client asks for the invocation's account. */
  readonly account: boolean;
  /** The lines that only a proxy of ours may send, when one did; they do not pass. */
  readonly proxyFields: string;
  /** The lines that pass to the function, verbatim, each with its CRLF. */
  readonly fields: string;
}

const lines = new FieldLines();
const body = new BodyFields();

export function refuse(detail: string): FnError {
  return new FnError('request.invalid', detail);
}

/** @param text the head as latin1, up to and including the CRLF of its last line, without the empty line.
 *  @param trusted it came over the internal socket, from the platform's own job consumer.
 *  @param proxied it came from a proxy that is ours. */
export function parseRequestHead(text: string, trusted: boolean, proxied = false): RequestHead {
  // request-line = method SP request-target SP HTTP-version CRLF
  let at = 0;
  let code = text.charCodeAt(0);
  while ((code >= 65 && code <= 90) || code === 45 || code === 95) code = text.charCodeAt(++at);
  if (code !== 32 || at === 0 || at > 32) throw refuse('the method is not a word in upper case');
  const method = text.substring(0, at);
  const targetStart = ++at;
  code = text.charCodeAt(at);
  while (code > 32 && code < 127 && code !== 35) code = text.charCodeAt(++at);
  if (code !== 32 || at === targetStart) throw refuse('the target holds a character that must be percent-encoded');
  let target = text.substring(targetStart, at++);
  const http11 = text.startsWith('HTTP/1.1\r\n', at);
  if (!http11 && !text.startsWith('HTTP/1.0\r\n', at)) throw refuse('the version is not HTTP/1.1 or HTTP/1.0');

  let wrong = lines.scan(text, at + 10);
  if (wrong !== undefined) throw refuse(wrong);
  body.begin();

  let host: string | undefined;
  let hostField = '';
  let connection: string[] | undefined;
  let expectContinue = false;
  let upgrade = '';
  let requestId: string | undefined;
  let invocation: string | undefined;
  let traces = 0;
  let traceparent = '';
  let account = false;
  let proxyFields = '';
  for (let line = 0; line < lines.count; line++) {
    const kind = kindOf(text, line);
    if (kind === '') continue;
    if (lines.hasUnderscore(text, line)) {
      lines.dropped[line] = 1;
      continue;
    }
    switch (kind) {
      case 'host':
        if (host !== undefined) throw refuse('two Host fields');
        host = lines.value(text, line);
        break;
      case 'content-length':
        wrong = body.length(lines.value(text, line));
        lines.dropped[line] = 1;
        break;
      case 'transfer-encoding':
        wrong = body.coding(lines.value(text, line));
        lines.dropped[line] = 1;
        break;
      case 'connection':
        connection = (connection ?? []).concat(listMembers(lines.value(text, line)));
        lines.dropped[line] = 1;
        break;
      case 'expect':
        expectContinue = lines.value(text, line).toLowerCase() === '100-continue';
        if (expectContinue && !http11) lines.dropped[line] = 1; // RFC 9110 10.1.1: ignored in HTTP/1.0.
        break;
      case 'upgrade':
        upgrade = lines.value(text, line).toLowerCase();
        lines.dropped[line] = 1;
        break;
      case 'x-request-id':
        requestId = lines.value(text, line);
        lines.dropped[line] = 1;
        break;
      case 'traceparent':
        traces++;
        traceparent = traces === 1 ? lines.value(text, line) : '';
        if (!isTraceparent(traceparent)) traceparent = '';
        break;
      case 'account':
        account = lines.value(text, line) === '1';
        lines.dropped[line] = 1;
        break;
      case 'proxy':
        if (proxied) proxyFields += text.substring(lines.start[line]!, lines.start[line + 1]);
        lines.dropped[line] = 1;
        break;
      case 'job':
        if (!trusted) lines.dropped[line] = 1;
        else if (lines.is(text, line, 'x-fn-invocation-id')) invocation = lines.value(text, line);
        break;
      default: // 'own'
        lines.dropped[line] = 1;
    }
    if (wrong !== undefined) throw refuse(wrong);
  }

  wrong = body.end(http11);
  if (wrong !== undefined) throw refuse(wrong);
  const { contentLength, chunked } = body;
  if (target.charCodeAt(0) !== 47) {
    const absolute = ABSOLUTE_FORM.exec(target);
    if (absolute) {
      // RFC 9112 3.2.2: the target's authority counts, whatever Host says.
      if (http11 && host === undefined) throw refuse('no Host field');
      host = absolute[1]!;
      target = absolute[2]!.startsWith('/') ? absolute[2]! : `/${absolute[2]!}`;
      lines.dropNamed(text, HOST_ONLY);
      hostField = `host: ${host}\r\n`;
    } else if (target !== '*' || method !== 'OPTIONS') {
      throw refuse('the target is neither a path nor an http URL');
    }
  }
  if (target.includes('%') && BAD_ESCAPE.test(target)) throw refuse('a % in the path without two hexadecimal digits');
  if (host === undefined ? http11 : host !== knownHost && !isHost(host))
    throw refuse('the Host field is missing or not a host');
  if (traces > 0 && traceparent === '') lines.dropNamed(text, TRACE_ONLY);

  let keepAlive = http11;
  let webSocket = false;
  if (connection !== undefined) {
    if (connection.includes('close')) keepAlive = false;
    else if (!http11) keepAlive = connection.includes('keep-alive');
    webSocket =
      http11 &&
      method === 'GET' &&
      upgrade === 'websocket' &&
      contentLength <= 0 &&
      !chunked &&
      connection.includes('upgrade');
    const named = connection.filter((member) => !NOT_DROPPABLE.has(member));
    if (named.length > 0) lines.dropNamed(text, new Set(named));
    if (named.includes('traceparent')) traceparent = '';
  }

  return {
    method,
    target,
    http10: !http11,
    host: host ?? '',
    contentLength,
    chunked,
    keepAlive,
    expectContinue: expectContinue && http11,
    webSocket,
    requestId,
    invocation,
    traceparent,
    account,
    proxyFields,
    fields: hostField + lines.kept(text),
  };
}

/** Refuses early what can no longer become a head. */
export function checkPartialHead(buffer: Buffer, start: number): void {
  const text = latin1(buffer, start, Math.min(buffer.length, start + HEAD_MAX));
  if (text.length >= HEAD_MAX) {
    throw new FnError('request.head_too_large', `the head is over ${HEAD_MAX} bytes`);
  }
  if (text !== '' && !/^[A-Z\r]/.test(text)) throw refuse('this is not HTTP/1.1');
  if (/(?:^|[^\r])\n/.test(text)) throw refuse('a line ends in LF without CR');
}

/** uri-host [ ":" port ]: a name, an IPv4 address, or an IPv6 address in brackets. */
const HOST = /^(?:[a-z0-9._~%-]{1,255}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?$/i;
/** The last one found valid: most requests repeat it. */
let knownHost: string | undefined;

function isHost(host: string): boolean {
  if (!HOST.test(host)) return false;
  knownHost = host;
  return true;
}

/** In the path: what is behind the ? is the function's to read, and is often sloppy. */
const BAD_ESCAPE = /^[^?]*%(?![0-9a-f]{2})/i;
const ABSOLUTE_FORM = /^https?:\/\/([^/?]+)(.*)$/i;
const HOST_ONLY: ReadonlySet<string> = new Set(['host']);
const TRACE_ONLY: ReadonlySet<string> = new Set(['traceparent', 'tracestate']);
/** Members of Connection that name no field to drop, or one that a client may not take from the function. */
const NOT_DROPPABLE: ReadonlySet<string> = new Set(['close', 'keep-alive', 'upgrade', 'host', 'content-type']);

/** What a field is to us, by length and first letter so that most are decided without reading the name; '' passes. */
function kindOf(text: string, line: number): string {
  const start = lines.start[line]!;
  const length = lines.nameEnd[line]! - start;
  switch (text.charCodeAt(start) | 32) {
    case 99: // c
      if (length === 14 && lines.is(text, line, 'content-length')) return 'content-length';
      return length === 10 && lines.is(text, line, 'connection') ? 'connection' : '';
    case 101: // e
      return length === 6 && lines.is(text, line, 'expect') ? 'expect' : '';
    case 102: // f
      return length === 9 && lines.is(text, line, 'forwarded') ? 'proxy' : '';
    case 104: // h
      if (length === 4 && lines.is(text, line, 'host')) return 'host';
      return length === 14 && lines.is(text, line, 'http2-settings') ? 'own' : '';
    case 107: // k
      return length === 10 && lines.is(text, line, 'keep-alive') ? 'own' : '';
    case 112: // p: Proxy would become HTTP_PROXY in a CGI environment.
      if (length === 5 && lines.is(text, line, 'proxy')) return 'own';
      return length > 5 && lines.hasPrefix(text, line, 'proxy-') ? 'own' : '';
    case 116: // t
      if (length === 17 && lines.is(text, line, 'transfer-encoding')) return 'transfer-encoding';
      if (length === 11 && lines.is(text, line, 'traceparent')) return 'traceparent';
      return length === 2 && lines.is(text, line, 'te') ? 'own' : '';
    case 117: // u
      return length === 7 && lines.is(text, line, 'upgrade') ? 'upgrade' : '';
    case 120: // x
      if (length === 12 && lines.is(text, line, 'x-request-id')) return 'x-request-id';
      if (length === 12 && lines.is(text, line, 'x-fn-account')) return 'account';
      if (lines.hasPrefix(text, line, 'x-fn-'))
        return JOB_FIELDS.some((name) => lines.is(text, line, name)) ? 'job' : 'own';
      if (lines.hasPrefix(text, line, 'x-forwarded-')) return 'proxy';
      return length === 9 && lines.is(text, line, 'x-real-ip') ? 'proxy' : '';
    default:
      return '';
  }
}

/** Set by the job consumer, or by the gateway that took the job (core/control.ts HEADERS). */
const JOB_FIELDS = [
  'x-fn-invocation-id',
  'x-fn-attempt',
  'x-fn-queue',
  'x-fn-job-name',
  'x-fn-key-name',
  'x-fn-claims',
];
