import { expect, test } from 'vitest';
import { bytes, NODE, OURS, outcome, type Program, stream } from './same.ts';

test.each<[string, Program]>([
  ['defaults', ({ Request }) => requestFacts(new Request('http://a/b?c#d'))],
  ['a URL object', ({ Request }) => requestFacts(new Request(new URL('http://a')))],
  ['no URL', ({ Request }) => requestFacts(new Request('/relative'))],
  ['a URL with a password', ({ Request }) => requestFacts(new Request('http://u:p@a/'))],
  [
    'method, headers, body',
    ({ Request }) => requestFacts(new Request('http://a/', { method: 'post', headers: { a: '1' }, body: 'b' })),
  ],
  ['an unusual method', ({ Request }) => requestFacts(new Request('http://a/', { method: 'purge' }))],
  ['a method that is none', ({ Request }) => requestFacts(new Request('http://a/', { method: 'a b' }))],
  ['a forbidden method', ({ Request }) => requestFacts(new Request('http://a/', { method: 'Trace' }))],
  ['a body with GET', ({ Request }) => requestFacts(new Request('http://a/', Object.fromEntries([['body', 'x']])))],
  [
    'a stream without duplex',
    ({ Request }) => requestFacts(new Request('http://a/', { method: 'POST', body: stream() })),
  ],
  [
    'a stream',
    ({ Request }) =>
      requestFacts(new Request('http://a/', { method: 'POST', body: stream(bytes('a')), duplex: 'half' })),
  ],
  [
    'from another',
    ({ Request }) =>
      requestFacts(
        new Request(new Request('http://a/', { method: 'PUT', body: 'x', headers: { a: '1' } }), {
          headers: { b: '2' },
        }),
      ),
  ],
  [
    'from another that was read',
    async ({ Request }) => {
      const first = new Request('http://a/', { method: 'PUT', body: 'x' });
      await first.text();
      return requestFacts(new Request(first));
    },
  ],
  [
    'another as init',
    ({ Request }) => requestFacts(new Request('http://b/', new Request('http://a/', { method: 'PUT', body: 'x' }))),
  ],
  [
    'members for sending',
    ({ Request }) => requestFacts(new Request('http://a/', { redirect: 'manual', cache: 'no-store', keepalive: true })),
  ],
  [
    'clone',
    async ({ Request }) => {
      const request = new Request('http://a/', { method: 'PUT', body: 'x', headers: { a: '1' } });
      return [await requestFacts(request.clone()), await requestFacts(request)];
    },
  ],
  [
    'the signal',
    ({ Request }) => {
      const controller = new AbortController();
      const request = new Request('http://a/', { signal: controller.signal });
      const before = request.signal.aborted;
      controller.abort();
      return [before, request.signal.aborted, new Request('http://a/').signal.aborted];
    },
  ],
  ['instanceof', ({ Request }) => [new Request('http://a/') instanceof Request, {} instanceof Request]],
  [
    'a subclass',
    ({ Request }) => {
      class Mine extends Request {
        get extra(): string {
          return `${this.method} ${this.url}`;
        }
      }
      const mine = new Mine('http://a/', { method: 'PUT' });
      return [mine.extra, mine instanceof Mine, mine instanceof Request];
    },
  ],
])('Request, %s', async (_, program) => {
  expect(await outcome(program, OURS)).toEqual(await outcome(program, NODE));
});

async function requestFacts(request: Request): Promise<unknown> {
  const { method, url, headers, redirect, mode, credentials, cache, referrer, referrerPolicy, integrity, keepalive } =
    request;
  const sending = { redirect, mode, credentials, cache, referrer, referrerPolicy, integrity, keepalive };
  const body = request.body === null ? null : await request.text();
  return { method, url, headers: [...headers], ...sending, body, destination: request.destination };
}
