/** Field lines of HTTP/1.1 (RFC 9112 section 5), read strictly: a token, a colon, visible characters, CRLF. What other
 *  servers read in two ways (folded lines, space before the colon, bare CR or LF, NUL) does not parse, so nobody behind us
 *  can read it differently than we did.
 *
 *  Works on the head as a latin1 string: one copy out of the socket's buffer, after that lines are slices of it, and the
 *  lines that are passed on are passed on as they came. */

/** Lines in a head or in a trailer section. */
export const FIELDS_MAX = 128;

/** The end of a head's last line and the empty line after it. */
export const HEAD_END = Buffer.from('\r\n\r\n');

/** tchar of RFC 9110 section 5.6.2. */
const TOKEN = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  TOKEN[char.charCodeAt(0)] = 1;
}

const CR = 13;
const LF = 10;
const COLON = 58;
const TAB = 9;
const SPACE = 32;
const DELETE = 127;

/** Offsets of the lines last scanned. One object for the process: it is read before anything else is scanned. */
export class FieldLines {
  count = 0;
  readonly start = new Int32Array(FIELDS_MAX + 1);
  readonly nameEnd = new Int32Array(FIELDS_MAX);
  readonly valueStart = new Int32Array(FIELDS_MAX);
  readonly valueEnd = new Int32Array(FIELDS_MAX);
  /** The caller's mark: lines marked 1 are not passed on. */
  readonly dropped = new Uint8Array(FIELDS_MAX);

  /** Scans from `at` to the end of the text, which must be the end of a line. Returns undefined, or what is wrong. */
  scan(text: string, at: number): string | undefined {
    const length = text.length;
    let count = 0;
    while (at < length) {
      if (count === FIELDS_MAX) return `more than ${FIELDS_MAX} header fields`;
      const start = at;
      while (TOKEN[text.charCodeAt(at)] === 1) at++;
      if (text.charCodeAt(at) !== COLON || at === start) return 'a header line that is not "name: value"';
      this.start[count] = start;
      this.nameEnd[count] = at++;
      let code = text.charCodeAt(at);
      while (code === SPACE || code === TAB) code = text.charCodeAt(++at);
      this.valueStart[count] = at;
      while ((code >= SPACE && code !== DELETE) || code === TAB) code = text.charCodeAt(++at);
      if (code !== CR || text.charCodeAt(at + 1) !== LF) return 'a control character in a header';
      let end = at;
      while (end > this.valueStart[count]! && isBlank(text.charCodeAt(end - 1))) end--;
      this.valueEnd[count] = end;
      this.dropped[count] = 0;
      at += 2;
      count++;
    }
    this.start[count] = at;
    this.count = count;
    return undefined;
  }

  value(text: string, line: number): string {
    return text.substring(this.valueStart[line]!, this.valueEnd[line]);
  }

  /** Whether the line's name is `name` (given in lower case). `_` counts as `-`: servers that hand fields over as CGI
   *  variables cannot tell them apart, so whoever may not send `x-fn-attempt` may not send `x_fn_attempt` either. */
  is(text: string, line: number, name: string): boolean {
    const start = this.start[line]!;
    return this.nameEnd[line]! - start === name.length && startsWithName(text, start, name);
  }

  hasPrefix(text: string, line: number, prefix: string): boolean {
    const start = this.start[line]!;
    return this.nameEnd[line]! - start >= prefix.length && startsWithName(text, start, prefix);
  }

  /** True when the name is spelt with `_` somewhere: then it only resembles the name that it was found to be. */
  hasUnderscore(text: string, line: number): boolean {
    const underscore = text.indexOf('_', this.start[line]);
    return underscore !== -1 && underscore < this.nameEnd[line]!;
  }

  /** Drops the lines whose lower-case name is in the set. */
  dropNamed(text: string, names: ReadonlySet<string>): void {
    for (let line = 0; line < this.count; line++) {
      if (names.has(text.substring(this.start[line]!, this.nameEnd[line]).toLowerCase())) this.dropped[line] = 1;
    }
  }

  /** The lines that were not dropped, verbatim, each with its CRLF. */
  kept(text: string): string {
    let kept = '';
    let run = -1;
    for (let line = 0; line < this.count; line++) {
      if (this.dropped[line] === 0) {
        if (run < 0) run = this.start[line]!;
      } else if (run >= 0) {
        kept += text.substring(run, this.start[line]);
        run = -1;
      }
    }
    return run < 0 ? kept : kept + text.substring(run, this.start[this.count]);
  }
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

function startsWithName(text: string, start: number, name: string): boolean {
  for (let i = 0; i < name.length; i++) {
    const expected = name.charCodeAt(i);
    const code = text.charCodeAt(start + i);
    if (code === expected) continue;
    if (expected === 45 ? code !== 95 : (code | 32) !== expected || code < 65) return false;
  }
  return true;
}

/** The list in a Connection field, lower case, without empty members. */
export function listMembers(value: string): string[] {
  return value
    .toLowerCase()
    .split(',')
    .map((member) => member.trim())
    .filter((member) => member !== '');
}

/** Content-Length of RFC 9110 section 8.6: digits and nothing else. Undefined when it is not, or beyond 2^53. */
export function parseLength(value: string): number | undefined {
  if (value.length === 0 || value.length > 16) return undefined;
  let length = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return undefined;
    length = length * 10 + digit;
  }
  return Number.isSafeInteger(length) ? length : undefined;
}

/** `fields` (lines with CRLF) as a record with lower-case names; repeated fields joined as RFC 9110 section 5.2 says. */
export function fieldRecord(fields: string): Record<string, string> {
  const record: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const line of fields.split('\r\n')) {
    const colon = line.indexOf(':');
    if (colon < 1) continue;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const before = record[name];
    record[name] = before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`;
  }
  return record;
}
