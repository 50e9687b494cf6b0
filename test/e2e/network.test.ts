/** Deployed functions and their network, on a machine of the test's own (test/network/lab.ts). */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingTools } from '../../worker/network/commands.ts';
import { FAR, type Lab, MACHINE, machineState, NEAR, openLab } from '../network/lab.ts';
import { eventually } from '../support/eventually.ts';
import { startPlatform, type TestPlatform } from '../support/platform.ts';
import { notRoot, skipBecause } from '../support/requires.ts';

const CALLER = `export default async (request) => {
  try {
    const reply = await fetch(request.headers.get('x-target'), { signal: AbortSignal.timeout(5000) });
    return new Response(await reply.text());
  } catch (error) {
    return new Response(String(error.cause?.code ?? error));
  }
}`;

describe.skipIf(skipBecause(notRoot() ?? missingTools()?.message))('a deployed function', () => {
  let lab: Lab;
  let before: object;
  let platform: TestPlatform;
  beforeAll(async () => {
    lab = await openLab();
    lab.setNames({ 'api.test': [FAR.public] });
    before = machineState();
    platform = await startPlatform({ FN_DNS: NEAR.resolver });
  }, 120_000);
  afterAll(async () => {
    await platform[Symbol.asyncDispose]();
    await lab[Symbol.asyncDispose]();
  }, 60_000);

  async function reach(name: string, target: string): Promise<string> {
    const reply = await platform.call(`/function/${name}`, { headers: { 'x-target': target } });
    return reply.text();
  }

  test.each([
    ['none', 'EAI_AGAIN', 'ENETUNREACH'],
    ['internet', `world ${MACHINE}`, 'ECONNREFUSED'],
    ['internal', 'ECONNREFUSED', 'lan 10.1.2.1'],
    ['[api.test]', `world ${MACHINE}`, 'ECONNREFUSED'],
  ])('with egress %s reaches that and nothing else', async (egress, byName, privately) => {
    const name = `to-${egress.replaceAll(/\W/g, '')}`;
    await platform.deployFiles({ 'fn.yaml': `name: ${name}\nnetwork: { egress: ${egress} }`, 'index.js': CALLER });
    expect(await reach(name, 'http://api.test/')).toBe(byName);
    expect(await reach(name, `http://${NEAR.private}/`)).toBe(privately);
    for (const address of [FAR.metadata, MACHINE]) {
      expect(await reach(name, `http://${address}/`)).toMatch(/ECONNREFUSED|ENETUNREACH/);
    }
  });

  test('keeps its network when the worker is killed, and nothing of it is left at the end', async () => {
    const [worker = 0] = await platform.pids('worker');
    process.kill(worker, 'SIGKILL');
    expect(await reach('to-internet', `http://${FAR.public}/`)).toBe(`world ${MACHINE}`);
    await eventually(async () => expect((await platform.pids('worker'))[0] ?? worker).not.toBe(worker));
    expect(await reach('to-internet', `http://${FAR.public}/`)).toBe(`world ${MACHINE}`);
    await platform.removeAll();
    await platform.stop();
    expect(machineState()).toEqual(before);
  });
});
