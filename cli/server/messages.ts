/** What a process tells the supervisor over its IPC channel. */

import type { Problem } from '../../core/errors.ts';
import type { Role } from '../../core/service.ts';

export type RoleMessage = { readonly ready: Role } | { readonly failed: Problem };
