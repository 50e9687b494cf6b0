/** Every setting, in one table: its environment variable, default and meaning. docs/configuration.md is checked against it.
 *  Read once at start by each process; nothing else reads process.env. */

import { createHash } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { homedir, hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { parseRange } from './addresses.ts';
import { FnError } from './errors.ts';
import type { NodeId } from './ids.ts';
import { nearest } from './nearest.ts';

interface Setting {
  readonly env: string;
  readonly kind: 'text' | 'int';
  readonly default: string | number;
  readonly min?: number;
  readonly max?: number;
  readonly help: string;
}

const MIB = 2 ** 20;

export const SETTINGS = {
  home: {
    env: 'FN_HOME',
    kind: 'text',
    default: '',
    help: 'Where all state lives; /var/lib/fn as root, ~/.fn otherwise',
  },
  gatewayHost: { env: 'FN_GATEWAY_HOST', kind: 'text', default: '127.0.0.1', help: 'Address the gateway listens on' },
  gatewayPort: { env: 'FN_GATEWAY_PORT', kind: 'int', default: 8080, min: 0, max: 65535, help: 'Port of the gateway' },
  tlsCert: {
    env: 'FN_TLS_CERT',
    kind: 'text',
    default: '',
    help: 'Certificate (PEM, with its chain) for HTTPS; without it there is none',
  },
  tlsKey: { env: 'FN_TLS_KEY', kind: 'text', default: '', help: 'Private key (PEM) of the certificate' },
  tlsPort: {
    env: 'FN_TLS_PORT',
    kind: 'int',
    default: 8443,
    min: 0,
    max: 65535,
    help: 'Port of the gateway for HTTPS',
  },
  gatewayThreads: {
    env: 'FN_GATEWAY_THREADS',
    kind: 'int',
    default: 0,
    min: 0,
    max: 8,
    help: 'Threads of the gateway; 0: one for every four cores, 8 at most',
  },
  domain: {
    env: 'FN_DOMAIN',
    kind: 'text',
    default: 'localhost',
    help: 'Requests for <name>.<domain> go to that function',
  },
  apiHost: { env: 'FN_API_HOST', kind: 'text', default: '127.0.0.1', help: 'Address the control API listens on' },
  apiPort: { env: 'FN_API_PORT', kind: 'int', default: 8081, min: 0, max: 65535, help: 'Port of the control API' },
  redisUrl: { env: 'REDIS_URL', kind: 'text', default: '', help: 'A Redis to use instead of the private one' },
  driver: { env: 'FN_DRIVER', kind: 'text', default: 'auto', help: 'OCI runtime: auto, crun or runc' },
  node: { env: 'FN_NODE', kind: 'text', default: '', help: 'Name of this node; the host name by default' },
  logLevel: { env: 'FN_LOG_LEVEL', kind: 'text', default: 'info', help: 'trace, debug, info, warn, error or silent' },
  gatewayUid: {
    env: 'FN_GATEWAY_UID',
    kind: 'int',
    default: 61_337,
    min: 1,
    max: 2 ** 31,
    help: 'User and group id the gateway runs as when started by root',
  },
  uidBase: {
    env: 'FN_UID_BASE',
    kind: 'int',
    default: 0,
    min: 0,
    max: 4_000_000_000,
    help: 'First host uid of the sandboxes, 65536 for each; derived from FN_HOME by default',
  },
  dns: {
    env: 'FN_DNS',
    kind: 'text',
    default: '',
    help: "IPv4 address of the DNS server for functions; the machine's own by default",
  },
  maxInstances: {
    env: 'FN_MAX_INSTANCES',
    kind: 'int',
    default: 500,
    min: 1,
    max: 2000,
    help: 'Instances on this node at most',
  },
  pool: {
    env: 'FN_POOL',
    kind: 'int',
    default: 4,
    min: 0,
    max: 1000,
    help: 'Warm sandboxes kept at least for each memory size in use, more while more are claimed; 0 turns the pool off',
  },
  poolMemory: {
    env: 'FN_POOL_MEMORY',
    kind: 'int',
    default: 0,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    help: "Memory warm sandboxes may hold, bytes, each counted as 16 MiB; 0: a quarter of the machine's",
  },
  bodyLimit: {
    env: 'FN_BODY_LIMIT',
    kind: 'int',
    default: 4096 * MIB,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    help: 'Largest request body, bytes; more is answered 413',
  },
  trustedProxies: {
    env: 'FN_TRUSTED_PROXIES',
    kind: 'text',
    default: '',
    help: 'Addresses and ranges of the proxies whose X-Forwarded-For, Forwarded or X-Real-IP is believed, comma-separated',
  },
  asyncBodyLimit: {
    env: 'FN_ASYNC_BODY_LIMIT',
    kind: 'int',
    default: MIB,
    min: 0,
    max: 64 * MIB,
    help: 'Largest body of POST /async/<name>, bytes',
  },
  resultLimit: {
    env: 'FN_RESULT_LIMIT',
    kind: 'int',
    default: MIB,
    min: 0,
    max: 64 * MIB,
    help: 'Largest result kept of a job, bytes; more fails the job',
  },
  resultTtl: {
    env: 'FN_RESULT_TTL_MS',
    kind: 'int',
    default: 86_400_000,
    min: 1000,
    max: 2_592_000_000,
    help: 'How long finished jobs are kept, ms',
  },
  waitingLimit: {
    env: 'FN_WAITING_LIMIT',
    kind: 'int',
    default: 1000,
    min: 0,
    max: 100_000,
    help: 'Requests that may wait for an instance of one function; more are answered 429',
  },
  waitingTotal: {
    env: 'FN_WAITING_TOTAL',
    kind: 'int',
    default: 10_000,
    min: 0,
    max: 1_000_000,
    help: 'Requests that may wait in one gateway; beyond it only functions below an equal share of it may add more',
  },
  startTimeout: {
    env: 'FN_START_TIMEOUT_MS',
    kind: 'int',
    default: 10_000,
    min: 100,
    max: 600_000,
    help: 'How long an instance may take to become ready, ms',
  },
  buildTimeout: {
    env: 'FN_BUILD_TIMEOUT_MS',
    kind: 'int',
    default: 300_000,
    min: 1000,
    max: 3_600_000,
    help: 'How long npm may take to install the dependencies of a function, ms',
  },
  drainWithin: {
    env: 'FN_DRAIN_WITHIN_MS',
    kind: 'int',
    default: 600_000,
    min: 0,
    max: 86_400_000,
    help: 'How long a process that was replaced (fn restart) may finish what it has in flight, ms',
  },
  freezeAfter: {
    env: 'FN_FREEZE_AFTER_MS',
    kind: 'int',
    default: 1000,
    min: 0,
    max: 86_400_000,
    help: 'How long an instance is idle before it is frozen, ms; 0 never freezes',
  },
  otlpEndpoint: {
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    kind: 'text',
    default: '',
    help: 'URL of an OpenTelemetry collector that takes OTLP over HTTP; spans go to <url>/v1/traces',
  },
  otlpHeaders: {
    env: 'OTEL_EXPORTER_OTLP_HEADERS',
    kind: 'text',
    default: '',
    help: 'Headers for the collector: name=value,name=value',
  },
  serviceName: { env: 'OTEL_SERVICE_NAME', kind: 'text', default: 'fn', help: 'service.name of our spans' },
  traceRatio: {
    env: 'OTEL_TRACES_SAMPLER_ARG',
    kind: 'text',
    default: '1',
    help: 'Share of the traces that begin here and are recorded, 0 to 1; for others the caller decides',
  },
  traceDelay: {
    env: 'OTEL_BSP_SCHEDULE_DELAY',
    kind: 'int',
    default: 5000,
    min: 10,
    max: 600_000,
    help: 'How often spans are sent, ms',
  },
  logLimit: {
    env: 'FN_LOG_LIMIT',
    kind: 'int',
    default: 10 * MIB,
    min: 4096,
    max: 1024 * MIB,
    help: 'Log kept of one function, bytes; the older half is dropped',
  },
} as const satisfies Record<string, Setting>;

type Values = { [K in keyof typeof SETTINGS]: (typeof SETTINGS)[K]['kind'] extends 'int' ? number : string };

export interface Config extends Values {
  readonly node: string;
  readonly nodeId: NodeId;
  /** 8 hex digits that tell platforms on one machine apart: cgroups, container state, uid ranges. */
  readonly instanceOfPlatform: string;
  readonly paths: Paths;
}

/** Everything below FN_HOME. */
export interface Paths {
  readonly home: string;
  /** URLs and token for the CLI, mode 0600. */
  readonly context: string;
  /** Seals the secrets, mode 0600. */
  readonly masterKey: string;
  readonly lock: string;
  /** Sockets, 0750, group = the gateway's. Sandboxes never see it. */
  readonly run: string;
  readonly workerSocket: string;
  readonly gatewaySocket: string;
  readonly redisSocket: string;
  /** Of `fn server`, for `fn restart`. */
  readonly supervisorSocket: string;
  readonly redis: string;
  /** OCI layout: the image store. */
  readonly images: string;
  readonly uploads: string;
  /** Unpacked layers, by diff id. */
  readonly layers: string;
  /** Mounted code trees, one per image. */
  readonly tasks: string;
  readonly sandboxes: string;
  readonly logs: string;
  readonly cache: string;
}

export function pathsOf(home: string): Paths {
  const run = join(home, 'run');
  return {
    home,
    context: join(home, 'context.json'),
    masterKey: join(home, 'master.key'),
    lock: join(home, 'server.lock'),
    run,
    workerSocket: join(run, 'worker.sock'),
    gatewaySocket: join(run, 'gateway.sock'),
    redisSocket: join(run, 'redis.sock'),
    supervisorSocket: join(run, 'server.sock'),
    redis: join(home, 'redis'),
    images: join(home, 'images'),
    uploads: join(home, 'uploads'),
    layers: join(home, 'layers'),
    tasks: join(home, 'tasks'),
    sandboxes: join(home, 'sandboxes'),
    logs: join(home, 'logs'),
    cache: join(home, 'cache'),
  };
}

function invalid(setting: Setting, why: string): FnError {
  return new FnError('usage.invalid', `${setting.env} ${why}`, { hint: `${setting.env}: ${setting.help}.` });
}

function read(setting: Setting, env: NodeJS.ProcessEnv): string | number {
  const text = env[setting.env];
  if (text === undefined || text === '') return setting.default;
  if (setting.kind === 'text') return text;
  const value = Number(text);
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = setting;
  if (!Number.isInteger(value) || value < min || value > max) {
    throw invalid(setting, `must be a whole number from ${min} to ${max}, not "${text}"`);
  }
  return value;
}

/** The members of a setting that is a list. */
export function listOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((one) => one !== '');
}

/** Variables that look like settings and are none: a typing error would otherwise be silent. */
export function unknownSettings(
  env: NodeJS.ProcessEnv,
): { readonly name: string; readonly near: string | undefined }[] {
  const known = Object.values(SETTINGS).map((setting) => setting.env as string);
  const strange = Object.keys(env).filter((name) => name.startsWith('FN_') && !known.includes(name));
  return strange.map((name) => ({ name, near: nearest(name, known) }));
}

export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const entries = Object.entries(SETTINGS).map(([key, setting]) => [key, read(setting, env)]);
  const values = Object.fromEntries(entries) as Values;
  const home = resolve(values.home || (process.getuid?.() === 0 ? '/var/lib/fn' : join(homedir(), '.fn')));
  // A unix socket path holds 107 bytes, of which /run/gateway.sock takes 17. Overlay options are separated by : and , .
  if (!/^[\w./@+-]{1,88}$/.test(home)) {
    throw invalid(SETTINGS.home, `must be a path of at most 88 letters, digits, and ./_@+-, not "${home}"`);
  }
  const strange = listOf(values.trustedProxies).find((range) => !parseRange(range));
  if (strange !== undefined) {
    throw invalid(SETTINGS.trustedProxies, `must be addresses or ranges such as 10.0.0.0/8, not "${strange}"`);
  }
  if (values.dns && !isIPv4(values.dns)) throw invalid(SETTINGS.dns, `must be an IPv4 address, not "${values.dns}"`);
  if (values.otlpEndpoint && !/^https?:$/.test(URL.parse(values.otlpEndpoint)?.protocol ?? '')) {
    throw invalid(SETTINGS.otlpEndpoint, `must be an http or https URL, not "${values.otlpEndpoint}"`);
  }
  if (!/^(0|1|0?\.\d+|1\.0+)$/.test(values.traceRatio)) {
    throw invalid(SETTINGS.traceRatio, `must be a number from 0 to 1, not "${values.traceRatio}"`);
  }
  if (!['auto', 'crun', 'runc'].includes(values.driver)) throw invalid(SETTINGS.driver, 'must be auto, crun or runc');
  if ((values.tlsCert === '') !== (values.tlsKey === '')) {
    const [absent, given] = values.tlsKey === '' ? [SETTINGS.tlsKey, 'FN_TLS_CERT'] : [SETTINGS.tlsCert, 'FN_TLS_KEY'];
    throw invalid(absent, `must be set as well, since ${given} is`);
  }
  const hash = createHash('sha256').update(home).digest();
  const node = values.node || hostname();
  return {
    ...values,
    tlsCert: values.tlsCert && resolve(values.tlsCert),
    tlsKey: values.tlsKey && resolve(values.tlsKey),
    home,
    node,
    nodeId: node as NodeId,
    instanceOfPlatform: hash.toString('hex', 0, 4),
    // 30 disjoint blocks of 2000 sandboxes: platforms side by side rarely share per-uid kernel limits.
    uidBase: values.uidBase || 131_072_000 * ((hash[4] ?? 0) % 30) + 262_144,
    paths: pathsOf(home),
  };
}
