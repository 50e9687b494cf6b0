/** `fn alias`: names beside a function's own that point at one or two of its revisions. */

import type { AliasSummary } from '../../controller/api/aliases.ts';
import { splitCallee } from '../../core/aliases.ts';
import { type FunctionName, parseFunctionName, revisionId } from '../../core/ids.ts';
import { unknownAction, usageOf } from '../actions.ts';
import { Api } from '../api.ts';
import { printJson, table } from '../output.ts';
import { defineVerb } from '../verb.ts';

const ACTIONS = ['set', 'ls', 'rm'] as const;
const SET = 'fn alias set <name>@<alias> <revision>[=<weight>] [<revision>=<weight>]';
const usage = usageOf('alias');

export const verb = defineVerb({
  operands: '<set|ls|rm> [name[@alias]] [revision[=weight]…]',
  count: { min: 1, max: 4 },
  help: [
    'Names that point at one or two revisions of a function, by weight. They are called as /function/<name>@<alias>, or at',
    'the host <alias>.<name>.<domain>. A revision with an alias is kept, and its instances start when it is called. A',
    'revision with traffic or an alias can be called by its number as well: /function/<name>@<number>.',
  ].join('\n'),
  options: {
    sticky: {
      type: 'string',
      value: '<header:name|cookie:name>',
      help: 'Requests with the same value of it go to the same revision; as in fn.yaml by default',
    },
  },
  examples: [
    ['fn alias set hello@live 3', 'Point live at the third revision'],
    ['fn alias set hello@live 3=90 4=10 --sticky cookie:session', 'Try the fourth with a tenth of the sessions'],
    ['fn invoke hello@live', 'Call it'],
    ['fn alias ls', 'Which there are'],
    ['fn alias rm hello@live', 'Remove it; its revisions are then removed like others'],
  ],
  async run({ flags, positionals: [action = '', callee, ...shares] }) {
    const json = flags.json === true;
    switch (action) {
      case 'set':
        return set(callee, shares, flags.sticky, json);
      case 'ls':
        if (shares.length > 0) throw usage('ls takes one name', 'fn alias ls [name]');
        return list(callee, json);
      case 'rm':
        if (shares.length > 0) throw usage('rm takes one alias', 'fn alias rm <name>@<alias>');
        return remove(callee, json);
      default:
        throw unknownAction('alias', action, ACTIONS);
    }
  },
});

async function set(
  callee: string | undefined,
  shares: readonly string[],
  sticky: string | undefined,
  json: boolean,
): Promise<void> {
  const { name, path } = aliasOf(callee, SET);
  if (shares.length === 0) throw usage('to which revision?', SET);
  const targets = shares.map((text) => shareOf(name, text, shares.length));
  const sum = targets.reduce((total, { weight }) => total + weight, 0);
  if (sum !== 100) throw usage(`the weights sum to ${sum}, not to 100`, SET);
  const api = await Api.open();
  const response = await api.call(path, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ targets, ...(sticky !== undefined && { sticky }) }),
  });
  const alias = (await response.json()) as AliasSummary;
  if (json) return printJson(alias);
  console.log(`${alias.url} → ${describe(alias)}`);
}

async function list(name: string | undefined, json: boolean): Promise<void> {
  const api = await Api.open();
  const query = name === undefined ? '' : `?function=${encodeURIComponent(name)}`;
  const aliases = await api.get<AliasSummary[]>(`/v1/aliases${query}`);
  if (json) return printJson(aliases);
  if (aliases.length === 0) return console.log('No aliases yet: fn alias set <name>@<alias> <revision>');
  const rows = aliases.map((one) => [`${one.function}@${one.name}`, describe(one), one.sticky ?? '-', one.url]);
  console.log(table(['ALIAS', 'REVISIONS', 'STICKY', 'URL'], rows));
}

async function remove(callee: string | undefined, json: boolean): Promise<void> {
  const { path } = aliasOf(callee, 'fn alias rm <name>@<alias>');
  await (await Api.open()).call(path, { method: 'DELETE' });
  if (json) printJson({ removed: callee });
  else console.log(`removed ${callee}`);
}

function aliasOf(callee: string | undefined, hint: string): { name: FunctionName; path: string } {
  const { name, qualifier } = splitCallee(callee ?? '');
  const known = parseFunctionName(name);
  if (!known || !qualifier) throw usage(`"${callee ?? ''}" is not <name>@<alias>`, hint);
  return { name: known, path: `/v1/functions/${known}/aliases/${encodeURIComponent(qualifier)}` };
}

/** `4=10`, `hello-00004=10`; without a weight all of it, where it is the only one. */
function shareOf(name: FunctionName, text: string, count: number): { revision: string; weight: number } {
  const [, revision = '', percent] = /^([^=]+)(?:=(\d{1,3})%?)?$/.exec(text) ?? [];
  if (revision === '' || (percent === undefined && count > 1)) throw usage(`"${text}" is not <revision>=<weight>`, SET);
  const id = /^\d{1,9}$/.test(revision) ? revisionId(name, Number(revision)) : revision;
  return { revision: id, weight: percent === undefined ? 100 : Number(percent) };
}

function describe({ targets }: AliasSummary): string {
  return targets.map(({ revision, weight }) => `${revision} ${weight} %`).join(', ');
}
