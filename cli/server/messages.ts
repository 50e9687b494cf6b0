/** What a process and the supervisor tell each other over the IPC channel. */

import type { Problem } from '../../core/errors.ts';
import type { Role } from '../../core/service.ts';

/** Also the order in which they are replaced. */
export const ROLES: readonly Role[] = ['controller', 'worker', 'builder', 'gateway'];

export type RoleMessage =
  /** It has loaded, and waits to be given what only one of its role may have (core/service.ts, takeOver). */
  | { readonly standby: Role }
  | { readonly ready: Role }
  /** Asked to hand over, it has let go of what only one of its role may have. */
  | { readonly released: Role }
  | { readonly failed: Problem };

export interface SupervisorMessage {
  readonly takeOver: true;
}
