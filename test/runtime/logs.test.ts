import { expect, test } from 'vitest';
import { LOG_MARK } from '../../core/control.ts';
import { startFunction } from '../support/bootstrap.ts';
import { eventually } from '../support/eventually.ts';

const mark = (id: string, line: string): string => `${LOG_MARK}${id} ${line}\n`;

test('what an invocation prints is marked with its id on every line, what loading prints is not', async () => {
  await using fn = await startFunction({
    files: {
      'index.mjs': `console.log('loading'); console.error('careful');
        export default async (request) => {
          console.log('one\\ntwo'); await null; setTimeout(() => console.error('late'), 1); return new Response() }`,
    },
  });
  await fn.request('/', { headers: { 'x-request-id': 'r1' } });
  await fn.request('/', { headers: { 'x-request-id': 'r2', 'x-fn-invocation-id': 'i2' } });
  const out = `loading\n${mark('r1', 'one')}${mark('r1', 'two')}${mark('i2', 'one')}${mark('i2', 'two')}`;
  await eventually(() => expect(fn.stdout).toBe(out));
  await eventually(() => expect(fn.stderr).toBe(`careful\n${mark('r1', 'late')}${mark('i2', 'late')}`));
});

test('a line written in pieces is marked once; another invocation’s line starts anew', async () => {
  await using fn = await startFunction({
    files: {
      'index.mjs': `export default (request) => {
        const [, ...words] = new URL(request.url).pathname.split('/');
        for (const word of words) process.stdout.write(decodeURIComponent(word));
        return new Response() }`,
    },
  });
  const say = (id: string, path: string) => fn.request(path, { headers: { 'x-request-id': id } });
  await say('a', '/half/-/whole%0A');
  await say('a', '/open');
  await say('b', '/mine%0A');
  await say('b', '/x%0A%0Ay');
  await say('b', '/z%0A');
  const expected = `${mark('a', 'half-whole')}${mark('a', 'open')}${mark('b', 'mine')}`;
  await eventually(() => expect(fn.stdout).toBe(`${expected}${mark('b', 'x')}${mark('b', '')}${mark('b', 'yz')}`));
});

test('concurrent invocations keep their lines apart', async () => {
  await using fn = await startFunction({
    files: {
      'index.mjs': `const all = Promise.withResolvers(); let waiting = 0;
        export default async (request) => {
          if (++waiting === 2) all.resolve();
          await all.promise; const id = request.headers.get('x-request-id');
          for (let n = 0; n < 20; n++) { console.log(id); await new Promise(setImmediate) }
          return new Response() }`,
    },
  });
  await using other = fn.connect();
  await Promise.all([
    fn.request('/', { headers: { 'x-request-id': 'first' } }),
    other.client.request({ method: 'GET', path: '/', headers: { 'x-request-id': 'second' } }),
  ]);
  await eventually(() => expect(fn.stdout.split('\n')).toHaveLength(41));
  for (const line of fn.stdout.trimEnd().split('\n')) expect(line.replace(LOG_MARK, '|')).toMatch(/^\|(\w+) \1$/);
});

test('bytes, callbacks and encodings of write work as before', async () => {
  await using fn = await startFunction({
    files: {
      'index.mjs': `export default async () => {
        await new Promise((done) => process.stdout.write(Buffer.from('bytes\\n'), done));
        await new Promise((done) => process.stdout.write('text\\n', 'utf8', done));
        return new Response() }`,
    },
  });
  await fn.request('/', { headers: { 'x-request-id': 'r' } });
  await eventually(() => expect(fn.stdout).toBe(mark('r', 'bytes') + mark('r', 'text')));
});

test('while nobody reads the log the function goes on; the rest is dropped and counted', async () => {
  await using fn = await startFunction({
    files: {
      'index.mjs': `const line = 'x'.repeat(1023);
        export default (request) => {
          for (let n = 0; n < 4096; n++) console.log(line);
          return new Response(String(process.memoryUsage().rss)) }`,
    },
  });
  fn.process.stdout?.pause();
  const reply = await fn.request('/');
  expect(reply.status).toBe(200);
  fn.process.stdout?.resume();
  await eventually(async () => {
    await fn.request('/');
    expect(fn.stdout).toMatch(/\[fn\] \d+ characters of log dropped: nobody read them in time/);
  });
});
