/** One HTTP request to a sandbox's unix socket. What answers may already be foreign code: the reply is bounded in size and
 *  time, and must be a JSON object. */

import { request } from 'node:http';
import type { Bytes, Millis } from '../../core/units.ts';

const REPLY_LIMIT: Bytes = 64 * 1024;

export interface Reply {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Rejects with the connection's error, an AbortError, or an Error that says what was wrong with the reply. */
export function ask(
  socketPath: string,
  method: string,
  path: string,
  body: unknown,
  timeout: Millis,
  signal?: AbortSignal,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const json = body === undefined ? '' : JSON.stringify(body);
    const headers = {
      host: 'sandbox',
      connection: 'close',
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(json),
    };
    const deadline = AbortSignal.timeout(Math.ceil(timeout));
    const call = request({
      socketPath,
      method,
      path,
      headers,
      agent: false,
      signal: signal ? AbortSignal.any([deadline, signal]) : deadline,
    });
    call.once('error', (error) => reject(deadline.aborted ? new TimeoutError(timeout) : error));
    call.once('response', (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > REPLY_LIMIT) call.destroy(new Error(`the reply is over ${REPLY_LIMIT} bytes`));
        else chunks.push(chunk);
      });
      response.once('error', reject);
      response.once('end', () => {
        try {
          const parsed: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8') || '{}');
          if (typeof parsed !== 'object' || parsed === null) throw new Error('not an object');
          resolve({ status: response.statusCode ?? 0, body: parsed as Record<string, unknown> });
        } catch (cause) {
          reject(new Error('the reply is not a JSON object', { cause }));
        }
      });
    });
    call.end(json);
  });
}

export class TimeoutError extends Error {
  override readonly name = 'TimeoutError';

  constructor(after: Millis) {
    super(`no reply within ${after} ms`);
  }
}
