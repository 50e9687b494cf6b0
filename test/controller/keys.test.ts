import { afterAll, beforeAll, expect, it } from 'vitest';
import type { KeySummary, NewKey } from '../../controller/api/keys.ts';
import { isKey, keyIdOf } from '../../core/keys.ts';
import { type Platform, startPlatform } from './platform.ts';

let platform: Platform;
beforeAll(async () => {
  platform = await startPlatform();
});
afterAll(() => platform[Symbol.asyncDispose]());

const create = (body: object): Promise<Response> =>
  platform.fetch('/v1/keys', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
const list = async (): Promise<KeySummary[]> => (await (await platform.fetch('/v1/keys')).json()) as KeySummary[];

it('shows the text of a key once, and keeps only its hash', async () => {
  const made = (await (await create({ name: 'shop' })).json()) as NewKey;
  expect(made).toMatchObject({ name: 'shop', id: keyIdOf(made.key), functions: null, expiresAt: null });
  const stored = await platform.store.get('key', 'shop');
  expect(stored && isKey(made.key, stored.value)).toBe(true);
  expect(JSON.stringify(stored)).not.toContain(made.key.slice(16));
  const text = await (await platform.fetch('/v1/keys')).text();
  expect(text).toContain('"shop"');
  expect(text).not.toContain(made.key.slice(16));
  expect(text).not.toContain(stored?.value.hash);
});

it('lists keys by name, with what they open and until when', async () => {
  const expiresAt = Date.now() + 1000;
  await create({ name: 'ci', functions: ['hello'], expiresAt });
  expect((await list()).map(({ name }) => name)).toEqual(['ci', 'shop']);
  expect((await list())[0]).toMatchObject({ functions: ['hello'], expiresAt });
});

it('does not replace a key by one of the same name', async () => {
  const response = await create({ name: 'shop' });
  expect(response.status).toBe(409);
  expect(await response.json()).toMatchObject({ code: 'key.exists' });
});

it.each([
  [{}],
  [{ name: 'a b' }],
  [{ name: '../x' }],
  [{ name: 'n', functions: [] }],
  [{ name: 'n', functions: ['No_Name'] }],
  [{ name: 'n', expiresAt: 1 }],
])('refuses %j', async (body) => {
  const response = await create(body);
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ code: 'request.invalid' });
});

it('revokes a key once', async () => {
  const remove = (): Promise<Response> => platform.fetch('/v1/keys/shop', { method: 'DELETE' });
  expect((await remove()).status).toBe(200);
  expect(await platform.store.get('key', 'shop')).toBeUndefined();
  const again = await remove();
  expect(again.status).toBe(404);
  expect(await again.json()).toMatchObject({ code: 'key.not_found' });
});
