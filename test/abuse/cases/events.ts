/** A64: JSON and names meant to change the prototypes of whoever reads them; A68: calls meant to be taken for the platform's. */

import { expect } from 'vitest';
import type { TestPlatform } from '../../support/platform.ts';
import type { AbuseCase } from './case.ts';

export interface EventCase extends AbuseCase {
  readonly play: (platform: TestPlatform) => Promise<void>;
}

const POISON = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":1,"then":1}';
const NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'then'];

export const EVENT_CASES: readonly EventCase[] = [
  {
    id: 'A64',
    tried: 'sends an event full of prototypes, now and as a job',
    result: 'it is data: it comes back as it was',
    heldBy: 'bodies pass unread; records are checked by a schema',
    async play(platform) {
      const headers = { 'content-type': 'application/vnd.fn.event+json' };
      const reply = await platform.call('/function/echo', { method: 'POST', headers, body: POISON });
      expect(await reply.text()).toBe(POISON);
      const accepted = await platform.call('/async/echo', { method: 'POST', headers, body: POISON });
      const { id } = (await accepted.json()) as { id: string };
      expect((await platform.settled(id)).result?.body).toBe(POISON);
    },
  },
  {
    id: 'A64',
    tried: 'asks for functions and invocations named like what every object has',
    result: '404',
    heldBy: 'names are looked up in maps',
    async play(platform) {
      for (const name of NAMES) {
        for (const path of [`/function/${name}`, `/invocations/${name}`]) {
          expect([path, (await platform.call(path)).status]).toEqual([path, 404]);
        }
        expect((await platform.call(`/async/${name}`, { method: 'POST' })).status).toBe(404);
      }
    },
  },
  {
    id: 'A64',
    tried: 'deploys a function whose fn.yaml holds them',
    result: 'spec.invalid, or plain variables',
    heldBy: 'a strict schema',
    async play(platform) {
      const index =
        'export default () => Response.json(Object.entries(process.env).filter(([name]) => /proto|constr/.test(name)))';
      const refusal = await platform.refusal({
        'fn.yaml': 'name: poison\n__proto__: { polluted: 1 }',
        'index.js': index,
      });
      expect(refusal.code).toBe('spec.invalid');
      await platform.deployFiles({
        'fn.yaml': 'name: poison\nenv: { constructor: "1", __proto__: "2" }',
        'index.js': index,
      });
      const reply = await platform.call('/function/poison');
      expect(await reply.json()).toEqual(expect.arrayContaining([['constructor', '1']]));
    },
  },
  {
    id: 'A68',
    tried: 'calls the path at which a sandbox is claimed, when the function has none yet',
    result: 'it is a call; what runs, and with which environment, the caller does not say',
    heldBy: 'a claim has a header that no caller can send',
    async play(platform) {
      await platform.deployFiles({
        'fn.yaml': 'name: claimant\nisolation: invocation\nenv: { WHO: owner }',
        'index.js': 'export default async (request) => new Response(`${process.env.WHO} ${await request.text()}`)',
        'package.json': '{"type":"module"}',
      });
      const body = '{"handler":"index.default","env":{"WHO":"caller"},"function":"claimant","timeoutMs":1000}';
      const headers = { 'x-fn-worker': '1' };
      const calls = Array.from({ length: 20 }, () =>
        platform.call('/function/claimant/_fn/claim', { method: 'POST', headers, body }),
      );
      const replies = await Promise.all(calls.map(async (call) => (await call).text()));
      expect(new Set(replies)).toEqual(new Set([`owner ${body}`]));
    },
  },
];
