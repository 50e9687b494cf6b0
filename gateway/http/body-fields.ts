/** What the fields of a head say of its body (RFC 9112 section 6). One rule for requests and replies: where a body ends must
 *  not be open to two readings in either direction. */

import { parseLength } from './fields.ts';

/** One object for each parser: it is read before the next head. What takes a field returns what is wrong, or undefined. */
export class BodyFields {
  /** -1 when there is none. */
  contentLength = -1;
  chunked = false;

  begin(): void {
    this.contentLength = -1;
    this.chunked = false;
  }

  length(value: string): string | undefined {
    const length = parseLength(value);
    if (this.contentLength >= 0 || length === undefined) return 'Content-Length is not one whole number';
    this.contentLength = length;
    return undefined;
  }

  coding(value: string): string | undefined {
    if (this.chunked || value.toLowerCase() !== 'chunked') return 'Transfer-Encoding is not "chunked"';
    this.chunked = true;
    return undefined;
  }

  /** All fields were read. */
  end(http11: boolean): string | undefined {
    if (!this.chunked) return undefined;
    if (this.contentLength >= 0) return 'both Content-Length and Transfer-Encoding';
    return http11 ? undefined : 'Transfer-Encoding in HTTP/1.0';
  }
}
