/** What a function sees: runs in a sandbox's network namespace, tries all targets at once, and prints what came of each. */

import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { sleep } from '../../core/clock.ts';
import type { Target } from './lab.ts';

/** What is refused is refused at once, what is dropped takes as long as this: enough for a busy machine to answer in. */
const WITHIN = 3000;

async function tryOne(name: string, target: Target): Promise<string> {
  const deadline = AbortSignal.timeout(WITHIN);
  try {
    return await Promise.race([
      attempt(name, target),
      new Promise<string>((resolve) => deadline.addEventListener('abort', () => resolve('timeout'))),
    ]);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

async function attempt(name: string, target: Target): Promise<string> {
  if ('dns' in target) {
    const resolver = new Resolver({ timeout: WITHIN, tries: 1 });
    resolver.setServers([target.server]);
    return (await resolver.resolve4(target.dns)).join(' ');
  }
  if ('udp' in target) {
    const answers = Array.from({ length: target.times ?? 1 }, () => ask(name, target.udp, target.from));
    if (target.times === undefined) return (await answers[0]) ?? '';
    const settled = await Promise.allSettled(
      answers.map((one) => Promise.race([one, new Promise((_, fail) => setTimeout(fail, WITHIN / 2))])),
    );
    return String(settled.filter(({ status }) => status === 'fulfilled').length);
  }
  if ('tcp6' in target) return fetchText(target.tcp6, 80);
  if (target.later) await sleep(WITHIN / 2);
  const [host = '', port] = target.tcp.split(':');
  return fetchText(host, Number(port));
}

async function fetchText(host: string, port: number): Promise<string> {
  const [response] = (await once(get({ host, port, agent: false }), 'response')) as [IncomingMessage];
  return (await response.toArray()).join('');
}

function ask(name: string, to: string, from?: string): Promise<string> {
  const [host = '', port] = to.split(':');
  const socket = createSocket('udp4');
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('message', (message) => resolve(String(message)));
    // Connected, so that a refusal is told.
    socket.bind(0, from, () => socket.connect(Number(port), host, () => socket.send(name)));
  });
}

const targets = JSON.parse(process.argv[2] ?? '{}') as Record<string, Target>;
const results = await Promise.all(
  Object.entries(targets).map(async ([name, target]) => [name, await tryOne(name, target)] as const),
);
process.stdout.write(JSON.stringify(Object.fromEntries(results)), () => process.exit());
