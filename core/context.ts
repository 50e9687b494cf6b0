/** How the CLI finds the platform and proves that it may command it: FN_HOME/context.json holds the URLs and the token of
 *  the control API. Made at the first start with mode 0600 and never twice: the token survives restarts, the URLs follow
 *  the configuration. Whoever can read the file can deploy code. */

import { randomBytes } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Config, pathsOf } from './config.ts';
import { FnError } from './errors.ts';

export interface Context {
  readonly token: string;
  readonly apiUrl: string;
  readonly gatewayUrl: string;
}

/** The context of this FN_HOME; makes it when there is none, and brings its URLs up to date. */
export async function ensureContext(config: Config): Promise<Context> {
  const urls = {
    apiUrl: urlOf(config.apiHost, config.apiPort),
    gatewayUrl: urlOf(config.gatewayHost, config.gatewayPort),
  };
  await mkdir(dirname(config.paths.context), { recursive: true, mode: 0o711 });
  const found = await readContext(config.home);
  if (!found) {
    await write(config.paths.context, { token: randomBytes(32).toString('base64url'), ...urls }, 'once');
    return ensureContext(config); // Read back: another process may have been first, and its token is then the token.
  }
  if (found.apiUrl === urls.apiUrl && found.gatewayUrl === urls.gatewayUrl) return found;
  const updated = { ...found, ...urls };
  await write(config.paths.context, updated, 'replace');
  return updated;
}

/** Undefined when no platform was ever started in this home. */
export async function readContext(home: string): Promise<Context | undefined> {
  const path = pathsOf(home).context;
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new FnError('server.unreachable', `${path} cannot be read`, {
      cause: error,
      hint: 'Run as the user that started the platform (sudo), or set FN_HOME.',
    });
  }
  try {
    return parseContext(JSON.parse(text));
  } catch (cause) {
    throw new FnError('server.unreachable', `${path} is damaged`, {
      cause,
      hint: `Remove it and start again: ${path}`,
    });
  }
}

/** By hand: loading a schema library would double the CLI's start-up time. */
function parseContext(value: unknown): Context {
  const { token, apiUrl, gatewayUrl } = Object(value) as Partial<Context>;
  if (typeof token !== 'string' || token.length < 32) throw new Error('no token');
  if (!apiUrl || !URL.canParse(apiUrl) || !gatewayUrl || !URL.canParse(gatewayUrl)) throw new Error('no URLs');
  return { token, apiUrl, gatewayUrl };
}

/** A URL a client on this machine can use: a wildcard address is no destination. */
export function urlOf(host: string, port: number): string {
  const reachable = host === '0.0.0.0' || host === '' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`;
}

/** The file appears whole or not at all. `once` leaves one that is already there. */
async function write(path: string, context: Context, mode: 'once' | 'replace'): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  await writeFile(temporary, `${JSON.stringify(context, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' });
  if (mode === 'replace') return rename(temporary, path);
  try {
    await link(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}
