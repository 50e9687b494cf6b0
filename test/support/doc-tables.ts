/** The tables of the reference pages, made from the code they describe. test/house/docs.test.ts compares, and writes them
 *  when asked to (UPDATE_DOCS=1); the prose around them is written by hand. */

import { z } from 'zod';
import { CONTENT_LIMIT, PACKAGE_LIMITS } from '../../builder/pack.ts';
import { COMMON_OPTIONS, type Options } from '../../cli/verb.ts';
import { VERBS } from '../../cli/verbs.ts';
import { type ApiDeps, createApi } from '../../controller/api/app.ts';
import { REVISIONS_KEPT } from '../../controller/plan.ts';
import { ALIASES_MAX } from '../../core/aliases.ts';
import { SETTINGS } from '../../core/config.ts';
import { ERRORS } from '../../core/errors.ts';
import { LOG_LINE_LIMIT } from '../../core/logs.ts';
import { METRICS } from '../../core/metrics.ts';
import { policyShape } from '../../core/policies.ts';
import { specSchema } from '../../core/spec.ts';
import { formatBytes, formatDuration } from '../../core/units.ts';
import { FIELDS_MAX } from '../../gateway/http/fields.ts';
import { REPLY_HEAD_MAX } from '../../gateway/http/parse-reply.ts';
import { HEAD_MAX } from '../../gateway/http/parse-request.ts';
import { REQUIREMENTS } from '../../setup/table.mjs';
import { BURST, RATE } from '../../worker/sandbox/log-pipe.ts';
import { PIDS_LIMIT, sandboxProfile } from '../../worker/sandbox/profile.ts';
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
  'functions.md': limits,
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

/** The sandbox's are read from a profile, at two sizes where they follow the memory. */
function limits(): string {
  const kib = (bytes: number): string => formatBytes(bytes);
  const [small, large] = [profileOf(64 * 2 ** 20), profileOf(64 * 2 ** 30)];
  const mounted = (path: string): string => {
    const share = Math.round((64 * 2 ** 20) / small.sizeOf(path));
    return `\`memory\` / ${share}, at most ${kib(large.sizeOf(path))}; ${small.inodesOf(path)} files`;
  };
  const setting = (name: keyof typeof SETTINGS): string => `\`${SETTINGS[name].env}\``;
  const standard = specSchema.parse({ name: 'x' });
  const size = (name: 'bodyLimit' | 'asyncBodyLimit' | 'resultLimit' | 'logLimit'): string =>
    kib(SETTINGS[name].default);
  const rows: string[][] = [
    ['memory of an instance', kib(standard.memory), '`memory`, from 64Mi to 64Gi'],
    ['cpu of an instance', `${standard.cpu}m`, '`cpu`'],
    ['a call', formatDuration(standard.timeout), '`timeout`, up to 24h'],
    ['loading', formatDuration(SETTINGS.startTimeout.default), setting('startTimeout')],
    ['calls at once in an instance', String(standard.concurrency), '`concurrency`, up to 1000'],
    ['instances', String(standard.scale.max), `\`scale.max\`; of the machine ${setting('maxInstances')}`],
    ['requests that wait for an instance', String(SETTINGS.waitingLimit.default), setting('waitingLimit')],
    ['body of a request', size('bodyLimit'), `\`bodyLimit\`; ${setting('bodyLimit')}`],
    ['event of a Lambda-style handler', '`memory` / 8', ''],
    ['body of a reply', 'none', ''],
    ['head of a request', `${kib(HEAD_MAX)}, ${FIELDS_MAX} fields`, ''],
    ['head of a reply', kib(REPLY_HEAD_MAX), ''],
    ['body of a queued call', size('asyncBodyLimit'), setting('asyncBodyLimit')],
    ['result of a queued call', size('resultLimit'), setting('resultLimit')],
    ['`/tmp`', mounted('/tmp'), ''],
    ['`/dev/shm`', mounted('/dev/shm'), ''],
    ['processes and threads', `${PIDS_LIMIT}; node has 11`, ''],
    ['open files and sockets', String(small.rlimit('RLIMIT_NOFILE')), ''],
    ['one file', kib(small.rlimit('RLIMIT_FSIZE')), ''],
    ['code', `${kib(CONTENT_LIMIT)}, ${PACKAGE_LIMITS.entries / 2} files, without dependencies`, ''],
    ['installing dependencies', formatDuration(SETTINGS.buildTimeout.default), setting('buildTimeout')],
    ['log of a function', size('logLimit'), setting('logLimit')],
    ['log lines', `${kib(LOG_LINE_LIMIT)} each; ${kib(RATE)} a second after the first ${kib(BURST)}`, ''],
    ['revisions kept', `${REVISIONS_KEPT}, and those with traffic or an alias`, ''],
    ['aliases of a function', String(ALIASES_MAX), ''],
  ];
  return table(['What', 'Limit', 'Changed by'], rows);
}

interface Profile {
  sizeOf(path: string): number;
  inodesOf(path: string): number;
  rlimit(type: string): number;
}

function profileOf(memory: number): Profile {
  const { mounts, process } = sandboxProfile({
    rootfs: '/',
    task: '/task',
    cgroupsPath: '/',
    hostId: 100_000,
    memory,
    nodeFlags: [],
    arch: 'x64',
  }) as {
    readonly mounts: readonly { readonly destination: string; readonly options: readonly string[] }[];
    readonly process: { readonly rlimits: readonly { readonly type: string; readonly hard: number }[] };
  };
  const option = (path: string, name: string): number => {
    const options = mounts.find(({ destination }) => destination === path)?.options ?? [];
    return Number(options.find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1));
  };
  return {
    sizeOf: (path) => option(path, 'size'),
    inodesOf: (path) => option(path, 'nr_inodes'),
    rlimit: (type) => Number(process.rlimits.find((one) => one.type === type)?.hard),
  };
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
