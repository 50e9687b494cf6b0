import { expect, test } from 'vitest';
import { addressGroup, AddressSet, parseRange, plainAddress } from '../../core/addresses.ts';

test.each([
  '',
  'x',
  '1.2.3',
  '1.2.3.4/33',
  '1.2.3.4/',
  '1.2.3.4/8/8',
  '::1/129',
  'fe80::1%eth0',
  '1.2.3.4/-1',
  '01.2.3.4',
])('"%s" is no range', (text) => expect(parseRange(text)).toBeUndefined());

test('a set has the addresses of its ranges, of both families', () => {
  const set = new AddressSet(['10.1.0.0/16', '192.0.2.7', '2001:db8::/32', '::1']);
  for (const address of ['10.1.255.255', '192.0.2.7', '2001:db8:ffff::1', '::1']) expect(set.has(address)).toBe(true);
  for (const address of ['10.2.0.0', '192.0.2.8', '2001:db9::1', '::2', '', 'unknown']) {
    expect(set.has(address)).toBe(false);
  }
  expect(new AddressSet(['0.0.0.0/0']).has('8.8.8.8')).toBe(true);
});

test('an IPv4 client of an IPv6 socket is an IPv4 client', () => {
  expect(plainAddress('::ffff:192.0.2.7')).toBe('192.0.2.7');
  expect(plainAddress('2001:db8::1')).toBe('2001:db8::1');
});

test('clients are counted by IPv4 address, or by the /64 of an IPv6 address', () => {
  expect(addressGroup('192.0.2.7')).toBe('192.0.2.7');
  expect(addressGroup('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64');
  expect(addressGroup('2001:0db8:0001:0002::1')).toBe('2001:db8:1:2::/64');
  expect(addressGroup('::1')).toBe('0:0:0:0::/64');
  expect(addressGroup('fe80::1%eth0')).toBe('fe80:0:0:0::/64');
});
