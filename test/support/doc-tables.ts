/** The tables of the reference pages, made from the code they describe. test/house/docs.test.ts compares, and writes them
 *  when asked to (UPDATE_DOCS=1); the prose around them is written by hand. */

import { z } from 'zod';
import { COMMON_OPTIONS, type Options } from '../../cli/verb.ts';
import { VERBS } from '../../cli/verbs.ts';
import { type ApiDeps, createApi } from '../../controller/api/app.ts';
import { SETTINGS } from '../../core/config.ts';
import { ERRORS } from '../../core/errors.ts';
import { METRICS } from '../../core/metrics.ts';
import { policyShape } from '../../core/policies.ts';
import { specSchema } from '../../core/spec.ts';
import { formatBytes, formatDuration } from '../../core/units.ts';
import { REQUIREMENTS } from '../../setup/table.mjs';
import { catalogue } from '../abuse/cases/catalogue.ts';

type JsonSchema = z.core.JSONSchema.JSONSchema;

/** By file in docs/. */
export const TABLES: Readonly<Record<string, () => string | Promise<string>>> = {
  'api.md': endpoints,
  'errors.md': errors,
  'configuration.md': settings,
  'metrics.md': metrics,
  'fn-yaml.md': specification,
  'cli.md': verbs,
  'install.md': requirements,
  'abuse.md': hostileFunctions,
};

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll(/<(?=[^`]*(`[^`]*`[^`]*)*$)/g, '\\<')).join(' | ')} |`;
  return [line(headings), line(headings.map(() => '---')), ...rows.map(line)].join('\n');
}

function errors(): string {
  const rows = Object.entries(ERRORS)
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([code, { status, fault, title, hint }]) => [`\`${code}\``, String(status), fault, title, hint]);
  return table(['Code', 'Status', 'Whose', 'What happened', 'What to do'], rows);
}

function settings(): string {
  const rows = Object.values(SETTINGS).map((setting) => {
    const range = 'min' in setting ? ` (${setting.min} to ${setting.max})` : '';
    return [`\`${setting.env}\``, setting.default === '' ? '' : `\`${setting.default}\``, `${setting.help}${range}`];
  });
  return table(['Variable', 'Default', 'Meaning'], rows);
}

function metrics(): string {
  const rows = Object.entries(METRICS).map(([name, { type, labels, help }]) => [
    `\`${name}\``,
    type,
    labels.map((label) => `\`${label}\``).join(', '),
    help,
  ]);
  return table(['Metric', 'Type', 'Labels', 'Meaning'], rows);
}

function hostileFunctions(): string {
  const rows = catalogue().map(({ id, tried, result, heldBy, test }) => [id, tried, result, heldBy, `\`${test}\``]);
  return table(['Case', 'Tries', 'Result', 'Held by', 'Test'], rows);
}

function requirements(): string {
  const rows = REQUIREMENTS.map((one) => [
    `\`${one.package}\``,
    one.for.join(', '),
    one.why,
    `\`${one.elsewhere.dnf}\``,
    `\`${one.elsewhere.pacman}\``,
    `\`${one.elsewhere.apk}\``,
  ]);
  return table(['Debian, Ubuntu', 'Needed for', 'What it does', 'Fedora', 'Arch', 'Alpine'], rows);
}

function specification(): string {
  const schema = z.toJSONSchema(specSchema, { io: 'input', unrepresentable: 'any' });
  const triggers = [{ http: { path: '/' } }, { queue: { name: 'x' } }, { cron: { schedule: 'x' } }];
  const rows = keysOf(schema, '', { ...specSchema.parse({ name: 'x', triggers }) }).map(
    ({ key, allowed, standard, help }) => [`\`${key}\``, standard === '' ? '' : `\`${standard}\``, allowed, help],
  );
  return table(['Key', 'Default', 'Allowed', 'Meaning'], rows);
}

interface Key {
  readonly key: string;
  readonly allowed: string;
  readonly standard: string;
  readonly help: string;
}

function keysOf(schema: JsonSchema, prefix: string, defaults: unknown): Key[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, value]): Key[] => {
    const child = value as JsonSchema;
    const key = `${prefix}${name}`;
    // The same as at the top, where they are listed.
    if (prefix !== '' && name in policyShape) return [];
    const standard = schema.required?.includes(name) ? undefined : (Object(defaults)[name] as unknown);
    const inner = childrenOf(child, key, Object(defaults)[name] as unknown);
    if (child.type === 'object' && inner.length > 0) return inner;
    const row = {
      key,
      allowed: allowedBy(child),
      standard: shown(name, name === 'triggers' ? [] : standard),
      help: child.description ?? '',
    };
    return [row, ...inner];
  });
}

function childrenOf(child: JsonSchema, key: string, standard: unknown): Key[] {
  const items = child.items as JsonSchema | undefined;
  if (items?.anyOf) {
    return items.anyOf.flatMap((branch, index) => keysOf(branch, `${key}[].`, Object(standard)[index] as unknown));
  }
  const branches = (child.anyOf ?? []).flatMap((branch) => keysOf(branch, `${key}.`, undefined));
  return [...keysOf(child, `${key}.`, standard), ...branches];
}

function allowedBy({ allowed, type, minimum, maximum, exclusiveMinimum, items, ...schema }: JsonSchema): string {
  if (typeof allowed === 'string') return allowed;
  if (schema.anyOf)
    return schema.anyOf
      .map((one) =>
        one.type === 'object'
          ? `a map with ${Object.keys(one.properties ?? {})
              .map((name) => `\`${name}\``)
              .join(', ')}`
          : allowedBy(one),
      )
      .join(', or ');
  if (type === 'boolean') return '`true`, `false`';
  if (schema.enum) return schema.enum.map((value) => `\`${String(value)}\``).join(', ');
  if (type === 'integer') return `${minimum} to ${maximum}`;
  if (type === 'number') return `above ${exclusiveMinimum}, at most ${maximum}`;
  if (type === 'array') {
    const each = (items as JsonSchema)['allowed'];
    if (typeof each === 'string') return `a list; each ${each}`;
    const inner = (items as JsonSchema).enum;
    return inner ? `a list of ${inner.map((value) => `\`${String(value)}\``).join(', ')}` : 'a list';
  }
  return type === 'object' ? 'names and values' : 'text';
}

function shown(name: string, value: unknown): string {
  if (value === undefined) return '';
  if (name === 'memory') return formatBytes(Number(value));
  if (name === 'cpu') return `${Number(value)}m`;
  if (name === 'timeout' || name === 'idle' || name === 'delay') return formatDuration(Number(value));
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Nothing is called, so nothing is needed to make the routes. */
function endpoints(): string {
  const nothing = { context: {}, access: { token: '' }, reconciler: {}, deployer: {} } as unknown as ApiDeps;
  const { paths = {} } = createApi(nothing).getOpenAPI31Document({
    openapi: '3.1.0',
    info: { title: '', version: '' },
  });
  const rows = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods as Record<string, Operation>).map(([method, { parameters = [], responses }]) => {
      const query = parameters.filter((one) => one.in === 'query').map(({ name }) => `\`${name}\``);
      return [`\`${method.toUpperCase()} ${path}\``, query.join(', '), responses['200']?.description ?? ''];
    }),
  );
  return table(['Request', 'Query', 'Answer'], rows);
}

interface Operation {
  readonly parameters?: readonly { readonly in: string; readonly name: string }[];
  readonly responses: Readonly<Record<string, { readonly description: string }>>;
}

async function verbs(): Promise<string> {
  const sections = await Promise.all(
    Object.entries(VERBS).map(async ([name, { summary, load }]) => {
      const { verb } = await load();
      const flags: Options = { ...verb.options, ...COMMON_OPTIONS };
      const rows = Object.entries(flags).map(([flag, { short, type, value, help }]) => [
        `${short === undefined ? '' : `\`-${short}\` `}\`--${flag}${type === 'string' ? ` ${value ?? '<value>'}` : ''}\``,
        help,
      ]);
      return [
        `## fn ${name}`,
        '',
        `${summary}. \`fn ${`${name} ${verb.operands}`.trim()}\``,
        '',
        verb.help,
        '',
        table(['Flag', 'Meaning'], rows),
        '',
        '```sh',
        ...verb.examples.flatMap(([command, what]) => [`# ${what}`, command]),
        '```',
      ].join('\n');
    }),
  );
  return sections.join('\n\n');
}
