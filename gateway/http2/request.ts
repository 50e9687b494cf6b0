/** A request of HTTP/2 as a head of HTTP/1.1, for the parser that every request goes through: one reading, one set of rules.
 *  nghttp2 has checked the message (RFC 9113 section 8); what could end a line or begin another message is checked here
 *  again, since everything behind this rests on it. */

import { FnError } from '../../core/errors.ts';

export interface Http2Request {
  /** Up to and including the empty line. It asks for `Connection: close`: a stream carries one request, whatever its body
   *  turns out to hold. */
  readonly head: string;
  readonly method: string;
  /** The body is to be sent in chunks, as its length is not known. */
  readonly chunked: boolean;
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const PATH = /^(?:\/[!-~]*|\*)$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const AUTHORITY = /^[!-~]*$/;
/** RFC 9113 section 8.2.2: what concerns one hop of HTTP/1.1 has no place here. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** @param raw names and values in turn, as node:http2 gives them.
 *  @param hasBody the stream goes on after the head.
 *  @throws FnError request.invalid */
export function toHttp1(raw: readonly string[], hasBody: boolean): Http2Request {
  const pseudo = new Map<string, string>();
  let fields = '';
  let host: string | undefined;
  let cookies = '';
  let hasLength = false;
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at]!;
    const value = raw[at + 1]!;
    if (name.startsWith(':')) {
      if (pseudo.has(name) || !VALUE.test(value)) throw invalid(`${name.slice(0, 20)} is not valid`);
      pseudo.set(name, value);
      continue;
    }
    if (!TOKEN.test(name) || !VALUE.test(value)) throw invalid('a field is not "name: value"');
    if (CONNECTION_FIELDS.has(name)) throw invalid(`${name} has no meaning in HTTP/2`);
    if (name === 'host') {
      if (host !== undefined) throw invalid('two Host fields');
      host = value;
    } else if (name === 'cookie')
      cookies += cookies === '' ? value : `; ${value}`; // RFC 9113 section 8.2.3.
    else {
      if (name === 'content-length') hasLength = true;
      fields += `${name}: ${value}\r\n`;
    }
  }
  const method = pseudo.get(':method') ?? '';
  if (!TOKEN.test(method)) throw invalid(':method is not valid');
  const authority = pseudo.get(':authority') ?? host;
  // RFC 9113 section 8.3.1: a Host that names somebody else than :authority is malformed.
  if (authority === undefined || !AUTHORITY.test(authority)) throw invalid(':authority is missing or not valid');
  if (host !== undefined && host.toLowerCase() !== authority.toLowerCase()) throw invalid('Host is not :authority');
  if (method === 'CONNECT')
    return { head: `CONNECT / HTTP/1.1\r\nhost: ${authority}\r\nconnection: close\r\n\r\n`, method, chunked: false };
  if (!/^https?$/.test(pseudo.get(':scheme') ?? '')) throw invalid(':scheme is not http or https');
  const path = pseudo.get(':path') ?? '';
  if (!PATH.test(path)) throw invalid(':path is not a path');
  const chunked = hasBody && !hasLength;
  const head =
    `${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n${fields}` +
    `${cookies === '' ? '' : `cookie: ${cookies}\r\n`}${chunked ? 'transfer-encoding: chunked\r\n' : ''}connection: close\r\n\r\n`;
  return { head, method, chunked };
}

/** Trailers of HTTP/2 as lines; pseudo-fields and what is no line are left out. */
export function trailerLines(raw: readonly string[]): string {
  let lines = '';
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at]!;
    const value = raw[at + 1]!;
    if (TOKEN.test(name) && VALUE.test(value) && !CONNECTION_FIELDS.has(name)) lines += `${name}: ${value}\r\n`;
  }
  return lines;
}

function invalid(detail: string): FnError {
  return new FnError('request.invalid', detail);
}
