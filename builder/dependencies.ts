/** The dependency layer: node_modules as npm installs it from the lock file, made once per lock file. Only what npm needs
 *  is put before it (the dependency part of package.json, the lock file, where its registry is); the code of the function
 *  is not there, so neither it nor a path to a file of this host can become a dependency. */

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { FnError } from '../core/errors.ts';
import type { Millis } from '../core/units.ts';
import { entryOf, listFiles } from './files.ts';
import { type BuildStore, type BuiltLayer, cachedLayer } from './layer-cache.ts';
import { writeLayer } from './oci/layer.ts';
import { runNpm } from './npm.ts';
import type { FunctionPackage } from './package.ts';
import { workDirectory } from './work.ts';

export interface InstallOptions {
  /** The environment of the platform; npm gets the few variables it needs of it. */
  readonly env: NodeJS.ProcessEnv;
  readonly timeout: Millis;
  readonly signal?: AbortSignal;
  readonly onProgress?: (text: string) => void;
}

/** Changes when the same inputs should lead to another layer. */
const VERSION = 1;

const versions = z.record(z.string(), z.string());
const packageSchema = z.object({
  name: z.string().optional(),
  version: z.string().optional(),
  dependencies: versions.optional(),
  devDependencies: versions.optional(),
  optionalDependencies: versions.optional(),
  peerDependencies: versions.optional(),
  peerDependenciesMeta: z.record(z.string(), z.unknown()).optional(),
  overrides: z.record(z.string(), z.unknown()).optional(),
});
type PackageJson = z.output<typeof packageSchema>;

const lockSchema = z.object({
  packages: z
    .record(
      z.string(),
      z.object({
        resolved: z.string().optional(),
        link: z.boolean().optional(),
        dev: z.boolean().optional(),
        hasInstallScript: z.boolean().optional(),
      }),
    )
    .optional(),
});

/** What npm is given. */
interface Inputs {
  readonly package: PackageJson;
  readonly lock?: { readonly name: string; readonly text: string };
  readonly npmrc: string;
}

/** Undefined when the function has no dependencies.
 *  @throws FnError build.dependency, package.invalid, machine.unsupported */
export async function dependencyLayer(
  store: BuildStore,
  source: FunctionPackage,
  options: InstallOptions,
): Promise<BuiltLayer | undefined> {
  const inputs = await readInputs(source);
  if (!inputs) return undefined;
  const { dependencies, optionalDependencies } = inputs.package;
  if (Object.keys({ ...dependencies, ...optionalDependencies }).length === 0) return undefined;
  checkSources(inputs);
  const platform = [process.versions.modules, process.arch, process.platform];
  return cachedLayer(store, 'deps', [VERSION, platform, inputs], () => install(store, inputs, options));
}

async function readInputs({ directory, files }: FunctionPackage): Promise<Inputs | undefined> {
  const read = async (name: string): Promise<string | undefined> =>
    files.some((file) => file.path === name && file.type === 'file')
      ? readFile(join(directory, name), 'utf8')
      : undefined;
  const text = await read('package.json');
  if (text === undefined) return undefined;
  const lockName = files.some(({ path }) => path === 'npm-shrinkwrap.json')
    ? 'npm-shrinkwrap.json'
    : 'package-lock.json';
  const lock = await read(lockName);
  return {
    package: parse(packageSchema, text, 'package.json'),
    ...(lock !== undefined && { lock: { name: lockName, text: lock } }),
    npmrc: registryLines((await read('.npmrc')) ?? ''),
  };
}

function parse<T>(schema: z.ZodType<T>, text: string, name: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new FnError('package.invalid', `${name} cannot be read: ${why}`, { cause });
  }
}

/** Of a function's .npmrc only where its registry is and how to enter it: other keys name programs to run and files to
 *  read, and `${…}` would send a variable of the platform to whoever the file names. */
function registryLines(npmrc: string): string {
  const lines = npmrc.split('\n').map((line) => line.trim());
  return lines
    .filter((line) =>
      /^((@[\w.-]+:)?registry|legacy-peer-deps|\/\/\S+:(_authToken|_auth|username|_password))\s*=/.test(line),
    )
    .filter((line) => !line.includes('${'))
    .join('\n');
}

const NOT_FROM_A_REGISTRY =
  /^(git[+:@]|github:|gitlab:|bitbucket:|gist:|file:|link:|workspace:|portal:|ssh:|[.~/]|[\w-]+\/)/;

/** Git and file dependencies are named before npm fails on them in its own words. */
function checkSources({
  package: { dependencies, optionalDependencies, peerDependencies, overrides },
  lock,
}: Inputs): void {
  const wanted = Object.entries({ ...peerDependencies, ...optionalDependencies, ...dependencies });
  for (const [name, source] of [...wanted, ...leavesOf(overrides)]) {
    if (NOT_FROM_A_REGISTRY.test(source)) throw notFromRegistry(name, source);
  }
  for (const [name, { resolved, link, dev }] of Object.entries(lockedPackages(lock))) {
    if (dev || resolved === undefined) continue;
    if (link || !/^https?:/.test(resolved)) throw notFromRegistry(nameOf(name), resolved);
  }
}

function notFromRegistry(name: string, source: string): FnError {
  return new FnError('build.dependency', `"${name}" comes from "${source}"; dependencies must come from a registry`, {
    hint: 'Publish it, name an https archive (.tgz), or put the code into the directory and import it by its path.',
  });
}

/** Every version in `overrides`, which nests. */
function leavesOf(overrides: Readonly<Record<string, unknown>> = {}): [string, string][] {
  return Object.entries(overrides).flatMap(([name, value]) => {
    if (typeof value === 'string') return [[name, value]];
    return typeof value === 'object' && value !== null ? leavesOf(value as Record<string, unknown>) : [];
  });
}

/** `node_modules/a/node_modules/@b/c` → `@b/c`. */
function nameOf(path: string): string {
  return path.replace(/^.*node_modules\//, '');
}

function lockedPackages(lock: Inputs['lock']): NonNullable<z.output<typeof lockSchema>['packages']> {
  return (lock && parse(lockSchema, lock.text, lock.name).packages) ?? {};
}

async function install(store: BuildStore, inputs: Inputs, options: InstallOptions): Promise<BuiltLayer> {
  const { lock, npmrc } = inputs;
  const directory = await mkdtemp(join(await workDirectory(store), 'npm-'));
  try {
    // Without a lock file npm would look at what only development needs, too; with one it must match the lock file.
    const { devDependencies, ...needed } = inputs.package;
    const wanted = lock ? { ...needed, devDependencies } : needed;
    await writeFile(join(directory, 'package.json'), JSON.stringify(wanted));
    if (lock) await writeFile(join(directory, lock.name), lock.text);
    if (npmrc !== '') await writeFile(join(directory, '.npmrc'), npmrc);
    for (const text of announcements(lock)) options.onProgress?.(text);
    await runNpm({
      command: lock ? 'ci' : 'install',
      directory,
      cache: join(store.cache, 'npm'),
      env: options.env,
      timeout: options.timeout,
      ...(options.signal && { signal: options.signal }),
    });
    const root = join(directory, 'node_modules');
    // npm's own notes: they hold addresses and change with npm's version.
    const files = await listFiles(root, (path) => path === '.package-lock.json' || path === '.cache').catch(noFiles);
    const entries = files.map((file) => entryOf(root, file, `task/node_modules/${file.path}`));
    const layer = await writeLayer(store.images, 'deps', entries, options.signal);
    return { ...layer, cached: false };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function announcements(lock: Inputs['lock']): string[] {
  if (!lock) return ['installing; there is no package-lock.json, so the next deploy may get other versions'];
  const packages = Object.entries(lockedPackages(lock)).filter(([path, one]) => path !== '' && !one.dev);
  const scripts = packages.filter(([, one]) => one.hasInstallScript).map(([path]) => nameOf(path));
  return [
    `installing ${packages.length} package${packages.length === 1 ? '' : 's'} from ${lock.name}`,
    ...(scripts.length > 0 ? [`install scripts are not run, some of these may need them: ${scripts.join(', ')}`] : []),
  ];
}

/** Only optional dependencies, and none for this platform. */
function noFiles(error: unknown): [] {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
  throw error;
}
