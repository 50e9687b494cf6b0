/** What the tests of policies share: a function that tells what it got, and replies as they are. */

import type { FunctionSpecInput } from '../../../core/spec.ts';
import type { Platform } from '../support/platform.ts';

export interface Seen {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Runs a function that replies with the request it got. Returns those requests. */
export async function runMirror(platform: Platform, spec: FunctionSpecInput): Promise<Seen[]> {
  const calls: Seen[] = [];
  await platform.run(spec, (request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const seen = { url: request.url, headers: request.headers, body: Buffer.concat(pieces).toString() } as Seen;
      calls.push(seen);
      response.end(JSON.stringify(seen));
    });
  });
  return calls;
}

export async function statusOf(url: string, init?: RequestInit): Promise<number> {
  const response = await fetch(url, init);
  await response.arrayBuffer();
  return response.status;
}
