/** `fn secret`: values that only the platform can read. */

import type { SecretSummary } from '../../controller/api/secrets.ts';
import { SECRET_MAX } from '../../core/secrets.ts';
import { unknownAction, usageOf } from '../actions.ts';
import { Api } from '../api.ts';
import { readHidden } from '../hidden.ts';
import { age, printJson, table } from '../output.ts';
import { defineVerb } from '../verb.ts';

const ACTIONS = ['set', 'ls', 'rm'] as const;
const usage = usageOf('secret');

export const verb = defineVerb({
  operands: '<set|ls|rm> [name…]',
  count: { min: 1, max: Infinity },
  help: [
    'Sets, lists and removes secrets. The value is what is piped in, or is asked for without echo; it is never an argument.',
    'It is kept sealed and is not shown again. A function gets those that "secrets" in its fn.yaml names as variables; webhooks',
    'are checked with them: docs/auth.md.',
  ].join('\n'),
  options: {},
  examples: [
    ['fn secret set stripe-webhook', 'Asks for the value'],
    [
      'openssl rand -hex 32 | fn secret set github-webhook',
      'Takes what is piped in, without the line break at its end',
    ],
    ['fn secret ls', 'Names and ages, never values'],
    ['fn secret rm stripe-webhook', 'Remove it'],
  ],
  async run({ flags, positionals: [action = '', ...names] }) {
    const json = flags.json === true;
    switch (action) {
      case 'set':
        return set(names, json);
      case 'ls':
        if (names.length > 0) throw usage('ls takes no names', 'fn secret ls');
        return list(json);
      case 'rm':
        return remove(names, json);
      default:
        throw unknownAction('secret', action, ACTIONS);
    }
  },
});

async function set(names: readonly string[], json: boolean): Promise<void> {
  const [name] = names;
  // A second argument would be the value; it is not repeated in the message.
  if (name === undefined || names.length > 1)
    throw usage('set takes one name, and the value from a pipe', 'fn secret set <name>');
  const api = await Api.open();
  const value = await readHidden(`Value of ${name}: `, SECRET_MAX);
  const response = await api.call(`/v1/secrets/${encodeURIComponent(name)}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/octet-stream' },
    body: value,
  });
  const made = (await response.json()) as SecretSummary;
  if (json) printJson(made);
  else console.log(`set ${name}`);
}

async function list(json: boolean): Promise<void> {
  const api = await Api.open();
  const secrets = await api.get<SecretSummary[]>('/v1/secrets');
  if (json) return printJson(secrets);
  if (secrets.length === 0) return console.log('No secrets yet: fn secret set <name>');
  console.log(
    table(
      ['NAME', 'AGE', 'CHANGED'],
      secrets.map((secret) => [secret.name, age(secret.createdAt), age(secret.updatedAt)]),
    ),
  );
}

async function remove(names: readonly string[], json: boolean): Promise<void> {
  if (names.length === 0) throw usage('which secret?', 'fn secret rm <name…>');
  const api = await Api.open();
  for (const name of names) {
    await api.call(`/v1/secrets/${encodeURIComponent(name)}`, { method: 'DELETE' });
    if (!json) console.log(`removed ${name}`);
  }
  if (json) printJson({ removed: names });
}
