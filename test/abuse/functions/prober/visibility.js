/** A42–A47, A59, A65: what of the host, the platform and other functions can be seen or reached. */

import { createSocket } from 'node:dgram';
import { lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { close, open, url } from 'node:inspector';
import { connect, createServer } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { attempt, settle } from './attempt.js';

export function processes() {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()).sort();
}

/** A pid of the host, which a process of ours may have too. */
export const signalHostPid = ({ pid }) => attempt(() => process.kill(Number(pid), 0));

export function environments() {
  const names = (text) =>
    text
      .split('\0')
      .filter(Boolean)
      .map((line) => line.split('=')[0]);
  return { init: names(readFileSync('/proc/1/environ', 'utf8')).sort(), ours: Object.keys(process.env).sort() };
}

/** Files below `path` whose bytes or names hold the text; `path` of the root finds what any other function left. */
export function search({ text }) {
  const found = [];
  const look = (path) => {
    if (path.includes(text)) found.push(path);
    for (const name of namesIn(path)) {
      const inner = join(path, name);
      const stat = tryStat(inner);
      if (stat?.isDirectory()) look(inner);
      else if (stat?.isFile() && contains(inner, stat, text)) found.push(inner);
    }
  };
  // Everything but our own memory and the pages that are read as files without end.
  for (const name of namesIn('/')) if (!['proc', 'usr'].includes(name)) look(`/${name}`);
  for (const name of [
    'net/unix',
    'keys',
    'key-users',
    'sysvipc/shm',
    'sysvipc/msg',
    'mounts',
    'cmdline',
    '1/environ',
    '1/cmdline',
  ])
    if (contains(`/proc/${name}`, { size: 0 }, text)) found.push(`/proc/${name}`);
  if (Object.values(process.env).some((value) => value?.includes(text))) found.push('env');
  return found;
}

/** Which of the paths exist. */
export function exists({ paths }) {
  return paths.split(',').filter((path) => attempt(() => statSync(path)) === 'ok');
}

export const abstractSocket = ({ name }) => connectTo({ path: `\0${name}` });
export const pathSocket = ({ path }) => connectTo({ path });
export const tcp = ({ host, port }) => connectTo({ host, port: Number(port) });

export function udp({ host, port }) {
  return settle(
    new Promise((resolve, reject) => {
      const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
      socket.once('error', reject);
      socket.bind(() => {
        if (host.endsWith('.255')) socket.setBroadcast(true);
        socket.send('x', Number(port), host, (error) => (error ? reject(error) : resolve()));
      });
    }),
  );
}

export const fetchUrl = ({ url }) =>
  fetch(url).then(
    (reply) => reply.status,
    (error) => error.cause?.code ?? error.message,
  );

export function network() {
  return {
    interfaces: Object.keys(networkInterfaces()),
    devices: readFileSync('/proc/net/dev', 'utf8')
      .trim()
      .split('\n')
      .slice(2)
      .map((line) => line.split(':')[0].trim()),
    routes: readFileSync('/proc/net/route', 'utf8').trim().split('\n').length - 1,
  };
}

export const identity = () => ({
  hostname: hostname(),
  uid: process.getuid(),
  gid: process.getgid(),
  groups: process.getgroups(),
  cgroup: readFileSync('/proc/self/cgroup', 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(':')[2]),
  ...Object.fromEntries(
    [
      ...readFileSync('/proc/self/status', 'utf8').matchAll(
        /^(CapEff|CapBnd|CapPrm|CapInh|CapAmb|NoNewPrivs|Seccomp):\s+(\S+)/gm,
      ),
    ].map(([, name, value]) => [name, value]),
  ),
});

export const namespace = ({ name }) => readlinkSync(`/proc/self/ns/${name}`);

/** A port that needs a capability, on its own loopback. */
export function lowPort() {
  const server = createServer();
  return settle(
    new Promise((resolve, reject) => server.once('error', reject).listen(80, '127.0.0.1', resolve)),
  ).finally(() => server.close());
}

export const status = ({ name }) => readFileSync(`/proc/self/${name}`, 'utf8').trim();

function connectTo(options) {
  return settle(
    new Promise((resolve, reject) => {
      const socket = connect(options, () => {
        socket.destroy();
        resolve();
      });
      socket.setTimeout(2000, () => socket.destroy(Object.assign(new Error(), { code: 'silence' })));
      socket.once('error', reject);
    }),
  );
}

function namesIn(path) {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function tryStat(path) {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}

function contains(path, { size }, text) {
  if (size > 2 ** 22) return false;
  try {
    return readFileSync(path, 'latin1').includes(text);
  } catch {
    return false;
  }
}

/** Where a debugger would be let in, opened towards everybody. */
export function inspector() {
  open(0, '0.0.0.0');
  const address = url();
  close();
  return address;
}
