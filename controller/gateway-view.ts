/** Asks this node's gateway, where it sends a function's requests above all. It learns of changes a moment after they are written; who
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
    const revisions = revisionsIn(await readFromGateway(socketPath, `/_fn/routes/${callee}`, ASK_WITHIN));
    if (!revisions || revisions.includes(revision)) return;
    await sleep(POLL_EVERY);
  }
}

function revisionsIn(text: string | undefined): readonly unknown[] | undefined {
  if (text === undefined) return undefined;
  try {
    const { revisions } = JSON.parse(text) as { revisions?: unknown };
    return Array.isArray(revisions) ? revisions : undefined;
  } catch {
    return undefined;
  }
}

/** What the gateway answers on its internal socket; undefined when it does not, or not in time. */
export function readFromGateway(socketPath: string, path: string, within: Millis): Promise<string | undefined> {
  return new Promise((resolve) => {
    const call = request({ socketPath, path, signal: AbortSignal.timeout(within) });
    call.once('error', () => resolve(undefined));
    call.once('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.once('error', () => resolve(undefined));
      response.once('end', () => resolve(response.statusCode === 200 ? text : undefined));
    });
    call.end();
  });
}
