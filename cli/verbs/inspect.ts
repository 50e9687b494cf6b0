/** `fn inspect`: what the platform knows of one function, arranged for reading. */

import type { FunctionDetail } from '../../controller/api/schemas.ts';
import type { InstanceRecord } from '../../core/records.ts';
import type { FunctionSpec } from '../../core/spec.ts';
import { formatBytes, formatDuration } from '../../core/units.ts';
import { Api } from '../api.ts';
import { describeProblem } from '../failure.ts';
import type { Problem } from '../../core/errors.ts';
import { age, dim, printJson, table } from '../output.ts';
import { defineVerb } from '../verb.ts';

const SHOWN_INSTANCES = 10;
const SHOWN_REVISIONS = 10;

export const verb = defineVerb({
  operands: '<name>',
  count: { min: 1, max: 1 },
  help: 'Shows everything about a function: its revisions, instances and how they ended, and why the controller acted.',
  options: {},
  examples: [
    ['fn inspect hello', 'For people'],
    ['fn inspect hello --json | jq .spec', 'The specification in use, with every default'],
  ],
  async run({ flags, positionals: [name = ''] }) {
    const api = await Api.open();
    const detail = await api.get<FunctionDetail>(`/v1/functions/${encodeURIComponent(name)}`);
    if (flags.json) return printJson(detail);
    console.log(describe(detail));
  },
});

function describe(detail: FunctionDetail): string {
  const facts: [string, string][] = [
    ['name', detail.name],
    ['state', `${detail.state}, ${detail.ready} of ${detail.desired} instances ready`],
    ['url', detail.url],
    ['revision', detail.revision ?? 'none is ready yet'],
    ['image', detail.image ?? '-'],
    ['triggers', detail.triggers.join(', ') || 'none besides its URL'],
  ];
  if (detail.spec) facts.push(['limits', limits(detail.spec as unknown as FunctionSpec)]);
  const lines = facts.map(([key, value]) => `${dim(key.padEnd(10))}${value}`);
  if (detail.candidate)
    lines.push(`${dim('candidate ')}${detail.candidate.revision}, for ${age(detail.candidate.since)}`);
  if (detail.failed) {
    lines.push('', `Revision ${detail.failed.revision} failed ${age(detail.failed.at)} ago:`);
    lines.push(describeProblem(detail.failed.problem as Problem));
  }
  if (detail.revisions.length > 1 || detail.aliases.length > 0) {
    const rows = detail.revisions
      .slice(0, SHOWN_REVISIONS)
      .map(({ id, createdAt }) => revisionRow(detail, id, createdAt));
    lines.push('', table(['REVISION', 'TRAFFIC', 'ALIASES', 'AGE'], rows));
  }
  const instances = (detail.instances as unknown as InstanceRecord[]).slice(0, SHOWN_INSTANCES);
  if (instances.length > 0) {
    lines.push('', table(['INSTANCE', 'STATE', 'REVISION', 'START', 'AGE', 'END'], instances.map(instanceRow)));
  }
  if (detail.decisions.length > 0) {
    const rows = detail.decisions.map((one) => [age(one.at), one.rule, one.reason]);
    lines.push('', table(['AGO', 'DECISION', 'REASON'], rows));
  }
  return lines.join('\n');
}

function revisionRow({ traffic, aliases }: FunctionDetail, id: string, createdAt: number): string[] {
  const share = traffic.find(({ revision }) => revision === id);
  const names = aliases.flatMap(({ name, targets }) => {
    const target = targets.find(({ revision }) => revision === id);
    return target ? [`${name} ${target.weight} %`] : [];
  });
  return [id, share ? `${share.weight} %` : '-', names.join(', ') || '-', age(createdAt)];
}

function limits({ memory, cpu, timeout, concurrency, scale }: FunctionSpec): string {
  const instance = `memory ${formatBytes(memory)}, cpu ${cpu}m, timeout ${formatDuration(timeout)}`;
  return `${instance}, concurrency ${concurrency}, scale ${scale.min} to ${scale.max}`;
}

function instanceRow({ id, state, revision, start, createdAt, end }: InstanceRecord): string[] {
  const started = start ? `${start.kind} ${formatDuration(start.ms)}` : '-';
  const how = end?.exitCode === undefined ? end?.signal : `code ${end.exitCode}`;
  const ended = end ? `${end.reason}${how === undefined ? '' : ` (${how})`}` : '-';
  return [id, state, revision, started, age(createdAt), ended];
}
