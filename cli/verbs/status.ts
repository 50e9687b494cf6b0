/** `fn status`: is the platform whole? Works, and says so, when nothing answers. */

import type { Status } from '../../controller/api/schemas.ts';
import { loadConfig } from '../../core/config.ts';
import { FnError, type Problem } from '../../core/errors.ts';
import { Api } from '../api.ts';
import { age, dim, paint, printJson, table } from '../output.ts';
import { lockHolder } from '../server/lock.ts';
import { defineVerb } from '../verb.ts';

interface Shown extends Partial<Status> {
  readonly healthy: boolean;
  readonly home: string;
  /** The supervisor's pid, when one runs. */
  readonly supervisor?: number;
  readonly processes: Status['processes'];
  readonly problem?: Problem;
}

export const verb = defineVerb({
  operands: '',
  count: { min: 0, max: 0 },
  help: 'Shows the URLs of the gateway and the control API, and the health of each process. Exit code 1 if not all is well.',
  options: {},
  examples: [
    ['fn status', 'For people'],
    ['fn status --json | jq .healthy', 'true when every process is up'],
  ],
  async run({ flags }) {
    const status = await readStatus();
    if (flags.json) printJson(status);
    else console.log(describe(status));
    return status.healthy ? 0 : 1;
  },
});

async function readStatus(): Promise<Shown> {
  const config = loadConfig();
  const api = await Api.open(config);
  const { gatewayUrl, apiUrl } = api.context;
  const pid = await lockHolder(config.paths.lock);
  const known = { home: config.home, gatewayUrl, apiUrl, ...(pid !== undefined && { supervisor: pid }) };
  try {
    return { ...(await api.get<Status>('/v1/status')), ...known };
  } catch (error) {
    if (!(error instanceof FnError)) throw error;
    return { healthy: false, processes: [], problem: error.toProblem(), ...known };
  }
}

function describe(status: Shown): string {
  const well = status.healthy ? paint('green', 'well') : paint('red', 'not well');
  const lines = [
    `The platform in ${status.home} is ${well}.`,
    '',
    `${dim('gateway   ')}${status.gatewayUrl ?? '-'}`,
    `${dim('api       ')}${status.apiUrl ?? '-'}`,
    `${dim('redis     ')}${status.redis ? (status.redis.healthy ? 'up' : 'down') : 'unknown'}`,
  ];
  if (status.functions !== undefined) lines.push(`${dim('functions ')}${status.functions}`);
  if (status.processes.length > 0) {
    const rows = status.processes.map((one) => [
      one.role,
      one.healthy ? 'up' : 'down',
      String(one.pid),
      age(one.startedAt),
      Object.entries(one.facts ?? {})
        .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
        .join(' '),
    ]);
    lines.push('', table(['PROCESS', 'STATE', 'PID', 'AGE', 'FACTS'], rows));
  }
  if (status.problem) lines.push('', status.problem.detail, `${paint('cyan', 'hint:')} ${status.problem.hint}`);
  return lines.join('\n');
}
