/** A request on its way through the policies of the function it is for. */

import type { FunctionName } from '../../core/ids.ts';
import type { ClientConnection } from '../connection.ts';
import type { Exchange } from '../exchange.ts';
import type { RequestHead } from '../http/parse-request.ts';
import type { Plan } from './plan.ts';

export interface Call {
  readonly client: ClientConnection;
  readonly head: RequestHead;
  readonly requestId: string;
  readonly name: FunctionName;
  readonly plan: Plan;
  /** Goes on to the function, with this head in place of the one that came. */
  readonly open: (head: RequestHead) => Exchange;
}

/** Who calls. */
export interface Identity {
  /** Tells callers apart, such as `key:<name>`; undefined when they proved something, but not who they are. */
  readonly caller: string | undefined;
  /** The request's fields without the credential, with what the function may know of the caller. */
  readonly fields: string;
}
