/** Puts Request, Response, Headers and fetch in the place of node's: the same classes as far as a function can see, but
 *  without undici behind them until the function sends a request itself. Node's cost 5 MiB and 25 ms, which every instance
 *  and every first invocation would pay. */

import { Headers } from './headers.mjs';
import { fetch, Request } from './request.mjs';
import { Response } from './response.mjs';

export function installFetch() {
  // By assignment: reading or redefining one of these properties is what makes node load undici.
  Object.assign(globalThis, { fetch, Headers, Request, Response });
}
