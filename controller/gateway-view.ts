/** Asks this node's gateway where it sends a function's requests. It learns of changes a moment after they are written; who
 *  is told that a deploy is done expects the next request to get the new code. */

import { request } from 'node:http';
import { sleep } from '../core/clock.ts';
import type { RevisionId } from '../core/ids.ts';
import type { Millis } from '../core/units.ts';

const ASK_WITHIN: Millis = 1000;
const POLL_EVERY: Millis = 5;

/** Resolves when the gateway sends requests to the revision, or when it does not say so in time: the change is written, and
 *  it will. Without a gateway on this node there is nobody to wait for. */
export async function routed(socketPath: string, callee: string, revision: RevisionId, within: Millis): Promise<void> {
  const end = performance.now() + within;
  while (performance.now() < end) {
    const revisions = await ask(socketPath, callee);
    if (!revisions || revisions.includes(revision)) return;
    await sleep(POLL_EVERY);
  }
}

function ask(socketPath: string, callee: string): Promise<readonly unknown[] | undefined> {
  return new Promise((resolve) => {
    const call = request({ socketPath, path: `/_fn/routes/${callee}`, signal: AbortSignal.timeout(ASK_WITHIN) });
    call.once('error', () => resolve(undefined));
    call.once('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.once('error', () => resolve(undefined));
      response.once('end', () => {
        try {
          const { revisions } = JSON.parse(text) as { revisions?: unknown };
          resolve(Array.isArray(revisions) ? revisions : undefined);
        } catch {
          resolve(undefined);
        }
      });
    });
    call.end();
  });
}
