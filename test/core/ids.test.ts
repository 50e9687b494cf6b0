import { expect, test } from 'vitest';
import {
  newInvocationId,
  parseDigest,
  parseFunctionName,
  parseInvocationId,
  requestIdFrom,
  revisionId,
} from '../../core/ids.ts';

const name = (text: string) => parseFunctionName(text) ?? expect.unreachable(`${text} is a name`);

test.each(['a', 'hello', 'a-b-c', 'x1', 'a'.repeat(40)])('%s is a name', (text) =>
  expect(parseFunctionName(text)).toBe(text),
);

test.each(['', 'A', '1a', '-a', 'a-', 'a_b', 'a.b', 'a b', 'ä', 'a'.repeat(41), '../a', 'a\n', '__proto__'])(
  '%j is no name',
  (text) => expect(parseFunctionName(text)).toBeUndefined(),
);

test('a revision is called after its function and number, so that they sort', () => {
  expect(revisionId(name('hello'), 3)).toBe('hello-00003');
  expect(revisionId(name('hello'), 123_456)).toBe('hello-123456');
});

test('an invocation id names its function and sorts by time', () => {
  const ids = [1_700_000_000_000, 1_700_000_000_001, 1_800_000_000_000].map((at) => newInvocationId(name('my-fn'), at));
  expect(ids.toSorted()).toEqual(ids);
  for (const id of ids) expect(parseInvocationId(id)).toEqual({ id, function: 'my-fn' });
  expect(new Set(Array.from({ length: 1000 }, () => newInvocationId(name('a'), 1))).size).toBe(1000);
});

test.each([
  '',
  'hello',
  '.abc',
  'hello.',
  'Hello.abc',
  'hello.a b',
  'hello.a:b',
  `hello.${'a'.repeat(65)}`,
  'hello.a.b',
])('%j is no invocation id', (text) => expect(parseInvocationId(text)).toBeUndefined());

test('a digest is sha256 and 64 hex digits in lower case', () => {
  const good = `sha256:${'0a'.repeat(32)}`;
  expect(parseDigest(good)).toBe(good);
  for (const bad of ['', good.toUpperCase(), good.slice(1), `${good}0`, good.replace('256', '512'), `${good}\n`]) {
    expect(parseDigest(bad)).toBeUndefined();
  }
});

test('a request id is taken over when it can do no harm in a log or a header, else made', () => {
  expect(requestIdFrom('abc-123/def=')).toBe('abc-123/def=');
  for (const bad of [undefined, '', 'a b', 'a\r\nx: y', 'ü', '"', 'x'.repeat(129)]) {
    expect(requestIdFrom(bad)).toMatch(/^[0-9a-f]{24}$/);
  }
});
