/** `fn key`: the API keys that open functions with `auth: key`. */

import type { KeySummary, NewKey } from '../../controller/api/keys.ts';
import { parseDuration } from '../../core/units.ts';
import { unknownAction, usageOf } from '../actions.ts';
import { Api } from '../api.ts';
import { age, dim, printJson, table } from '../output.ts';
import { defineVerb } from '../verb.ts';

const ACTIONS = ['create', 'ls', 'rm'] as const;
const usage = usageOf('key');

export const verb = defineVerb({
  operands: '<create|ls|rm> [name…]',
  count: { min: 1, max: Infinity },
  help: [
    'Makes, lists and revokes API keys. A function with "auth: key" in its fn.yaml answers only who sends one, as',
    '"Authorization: Bearer <key>" or "X-Api-Key: <key>". A key is shown once, when it is made: only its hash is kept.',
  ].join('\n'),
  options: {
    function: { type: 'string', short: 'f', multiple: true, value: '<name>', help: 'Opens this one only; repeatable' },
    expires: { type: 'string', value: '<duration>', help: 'Is valid for so long, such as 90d; for ever by default' },
  },
  examples: [
    ['fn key create shop', 'A key that opens every function'],
    ['fn key create ci --function report --expires 90d', 'For one function and three months'],
    ['KEY=$(fn key create app --json | jq -r .key)', 'Into a variable'],
    ['fn key ls', 'Which there are'],
    ['fn key rm shop', 'Revoke it, at once'],
  ],
  async run({ flags, positionals: [action = '', ...names] }) {
    switch (action) {
      case 'create':
        return create(names, flags.function, flags.expires, flags.json === true);
      case 'ls':
        if (names.length > 0) throw usage('ls takes no names', 'fn key ls');
        return list(flags.json === true);
      case 'rm':
        return remove(names, flags.json === true);
      default:
        throw unknownAction('key', action, ACTIONS);
    }
  },
});

async function create(
  names: readonly string[],
  functions: string[] | undefined,
  expires: string | undefined,
  json: boolean,
): Promise<void> {
  const [name] = names;
  if (name === undefined || names.length > 1) throw usage('create takes one name', 'fn key create <name>');
  const valid = expires === undefined ? undefined : parseDuration(expires);
  if (expires !== undefined && !valid) throw usage(`--expires ${expires} is not a duration such as 90d`, 'fn help key');
  const api = await Api.open();
  const response = await api.call('/v1/keys', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name, functions, ...(valid !== undefined && { expiresAt: Date.now() + valid }) }),
  });
  const made = (await response.json()) as NewKey;
  if (json) return printJson(made);
  console.error(dim('Keep it now, it is not shown again:'));
  console.log(made.key);
}

async function list(json: boolean): Promise<void> {
  const api = await Api.open();
  const keys = await api.get<KeySummary[]>('/v1/keys');
  if (json) return printJson(keys);
  if (keys.length === 0) return console.log('No keys yet: fn key create <name>');
  const rows = keys.map((key) => [
    key.name,
    `fnk_${key.id}…`,
    key.functions?.join(', ') ?? 'all functions',
    age(key.createdAt),
    key.expiresAt === null ? 'never' : new Date(key.expiresAt).toISOString().slice(0, 16).replace('T', ' '),
  ]);
  console.log(table(['NAME', 'KEY', 'OPENS', 'AGE', 'EXPIRES'], rows));
}

async function remove(names: readonly string[], json: boolean): Promise<void> {
  if (names.length === 0) throw usage('which key?', 'fn key rm <name…>');
  const api = await Api.open();
  for (const name of names) {
    await api.call(`/v1/keys/${encodeURIComponent(name)}`, { method: 'DELETE' });
    if (!json) console.log(`revoked ${name}`);
  }
  if (json) printJson({ removed: names });
}
