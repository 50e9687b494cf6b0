/** `fn restart`: replaces the processes of a running platform, one after the other. */

import { loadConfig } from '../../core/config.ts';
import { FnError } from '../../core/errors.ts';
import { nearest } from '../../core/nearest.ts';
import type { Role } from '../../core/service.ts';
import { formatDuration } from '../../core/units.ts';
import { dim, printJson } from '../output.ts';
import { connectSupervisor, type SupervisorLink } from '../server/control.ts';
import { ROLES } from '../server/messages.ts';
import type { Replaced } from '../server/supervisor.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  operands: '[gateway|worker|controller|builder|all]',
  count: { min: 0, max: 1 },
  help: [
    'Replaces the processes of "fn server" by new ones of the code on disk, one after the other, without losing a request',
    'or a job: a new one starts, and only when it is ready the old one stops taking requests and finishes those it has.',
    'Instances go on running. When a new one does not become ready, the old one stays and the rest is left as it is; then',
    'the exit code is 1. "fn server" itself and Redis stay as they are.',
  ].join('\n'),
  options: {},
  examples: [
    ['git pull && npm ci && fn restart', 'Upgrade'],
    ['fn restart gateway', 'Only the gateway'],
  ],
  async run({ flags, positionals: [which = 'all'] }) {
    const roles = which === 'all' ? ROLES : ROLES.filter((role) => role === which);
    if (roles.length === 0) {
      const near = nearest(which, [...ROLES, 'all']);
      throw new FnError('usage.invalid', `there is no process "${which}"`, {
        hint: near ? `Did you mean ${near}?` : `One of: ${ROLES.join(', ')}, all.`,
      });
    }
    const replaced: Replaced[] = [];
    using supervisor = await connectSupervisor(loadConfig().paths.supervisorSocket);
    for (const role of roles) {
      const one = await replace(role, supervisor, replaced);
      replaced.push(one);
      if (!flags.json) {
        console.log(`${role.padEnd(12)}pid ${one.oldPid} → ${one.pid}${dim(`  ${formatDuration(one.ms)}`)}`);
      }
    }
    if (flags.json) printJson({ replaced });
    return 0;
  },
});

/** The error of one that failed says which were replaced before it. */
async function replace(role: Role, supervisor: SupervisorLink, before: readonly Replaced[]): Promise<Replaced> {
  try {
    return await supervisor.replace(role);
  } catch (error) {
    if (!(error instanceof FnError)) throw error;
    const done = before.length === 0 ? '' : ` (replaced before it: ${before.map((one) => one.role).join(', ')})`;
    throw new FnError(error.code, `the ${role} was not replaced${done}: ${error.message}`, error.options);
  }
}
