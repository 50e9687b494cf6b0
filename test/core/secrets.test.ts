import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ensureMasterKey, SecretBox } from '../../core/secrets.ts';
import { rejectionOf, thrownBy } from '../support/thrown.ts';

async function directory() {
  const path = await mkdtemp(join(tmpdir(), 'fns-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test('what is sealed is opened again, and looks different each time', () => {
  const box = new SecretBox(randomBytes(32));
  const value = Buffer.from('s3cret \u0000 ü');
  const [one, two] = [box.seal('a', value), box.seal('a', value)];
  expect(box.open('a', one).equals(value)).toBe(true);
  expect(one).not.toBe(two);
  expect(Buffer.from(one.slice(3), 'base64').includes('s3cret')).toBe(false);
});

test('nothing is opened with another key, under another name, or changed', () => {
  const box = new SecretBox(randomBytes(32));
  const sealed = box.seal('a', Buffer.from('value'));
  const bytes = Buffer.from(sealed.slice(3), 'base64');
  bytes[20]! ^= 1;
  for (const open of [
    () => new SecretBox(randomBytes(32)).open('a', sealed),
    () => box.open('b', sealed),
    () => box.open('a', `v1.${bytes.toString('base64')}`),
    () => box.open('a', sealed.slice(0, 20)),
    () => box.open('a', 'value'),
  ]) {
    expect(thrownBy(open).code).toBe('secret.unreadable');
  }
});

test('the master key is made once, for its owner only, by however many ask at once', async () => {
  await using home = await directory();
  const path = join(home.path, 'new', 'master.key');
  const boxes = await Promise.all(Array.from({ length: 5 }, async () => new SecretBox(await ensureMasterKey(path))));
  const sealed = boxes[0]!.seal('a', Buffer.from('x'));
  for (const box of [...boxes, new SecretBox(await ensureMasterKey(path))])
    expect(box.open('a', sealed).toString()).toBe('x');
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(join(home.path, 'new'))).toEqual(['master.key']);
});

test('a damaged master key is said to be one, not replaced', async () => {
  await using home = await directory();
  const path = join(home.path, 'master.key');
  await writeFile(path, 'short');
  expect((await rejectionOf(ensureMasterKey(path))).code).toBe('secret.unreadable');
});
