import { expect, test } from 'vitest';
import { loadConfig, unknownSettings, SETTINGS } from '../../core/config.ts';
import { thrownBy } from '../support/thrown.ts';

test('everything has a default', () => {
  const config = loadConfig({});
  expect(config).toMatchObject({ gatewayPort: 8080, apiPort: 8081, gatewayHost: '127.0.0.1', driver: 'auto' });
  expect(config.paths.workerSocket).toBe(`${config.home}/run/worker.sock`);
  expect(config.node).not.toBe('');
});

test('an empty variable is one that is not set', () => {
  expect(loadConfig({ FN_GATEWAY_PORT: '', FN_HOME: '' }).gatewayPort).toBe(8080);
});

test.each([
  ['FN_GATEWAY_PORT', '80a'],
  ['FN_GATEWAY_PORT', '-1'],
  ['FN_GATEWAY_PORT', '65536'],
  ['FN_GATEWAY_PORT', '1.5'],
  ['FN_DRIVER', 'docker'],
  ['FN_HOME', `/${'x'.repeat(90)}`],
  ['FN_HOME', '/srv/a:b'],
  ['FN_DNS', 'example.com'],
  ['FN_TRUSTED_PROXIES', '10.0.0.0/8, proxy.example.com'],
])('%s=%s is refused with the name of the setting and what it is for', (key, value) => {
  const error = thrownBy(() => loadConfig({ [key]: value }));
  expect(error.code).toBe('usage.invalid');
  expect(error.message).toContain(key);
  expect(error.hint).toContain(Object.values(SETTINGS).find(({ env }) => env === key)?.help);
});

test('platforms with different homes share neither uid range nor name', () => {
  const [a, b] = [loadConfig({ FN_HOME: '/srv/a' }), loadConfig({ FN_HOME: '/srv/b' })];
  expect(a.instanceOfPlatform).toMatch(/^[0-9a-f]{8}$/);
  expect(a.instanceOfPlatform).not.toBe(b.instanceOfPlatform);
  expect(a.uidBase).not.toBe(b.uidBase);
  for (const { uidBase } of [a, b]) {
    expect(uidBase).toBeGreaterThan(100_000);
    // 2000 sandboxes of 65536 uids each must fit below 2^32.
    expect(uidBase + 2000 * 65_536).toBeLessThan(2 ** 32);
  }
  expect(loadConfig({ FN_HOME: '/srv/a', FN_UID_BASE: '500000' }).uidBase).toBe(500_000);
});

test('a variable that looks like a setting and is none is found, with the one that was meant', () => {
  const env = { FN_GATEWAY_PROT: '80', FN_HOME: '/srv/a', FN_QUITE_ELSE: 'x', PATH: '/bin' };
  expect(unknownSettings(env)).toEqual([
    { name: 'FN_GATEWAY_PROT', near: 'FN_GATEWAY_PORT' },
    { name: 'FN_QUITE_ELSE', near: undefined },
  ]);
});
