import { expect, test } from 'vitest';
import { egressKey, parseDestination } from '../../core/egress.ts';
import { addressOf, blockRange, BLOCKS, chooseLink } from '../../worker/network/addresses.ts';
import { findResolver } from '../../worker/network/resolver.ts';
import { forwardingRules, machineRules, routerRules } from '../../worker/network/rules.ts';
import { testDirectory } from '../support/directory.ts';

/** The rules are a security boundary: a change of any line must be seen and meant. */
test('the rules are the ones that were reviewed', () => {
  const lists = [
    { block: 2, ranges: ['10.1.0.0/16', '192.0.2.7'], resolves: true },
    { block: 3, ranges: [], resolves: false },
  ];
  expect(routerRules('10.0.0.53', lists)).toMatchSnapshot('router');
  expect(machineRules({ name: 'fn-01234567', router: '169.254.200.2' }, '10.0.0.53')).toMatchSnapshot('machine');
  expect(forwardingRules(['eth0', 'eth1'])).toMatchSnapshot('forwarding');
});

test('without a resolver no rule mentions one', () => {
  expect(routerRules(undefined, [])).not.toMatch(/dnat ip|undefined/);
  expect(machineRules({ name: 'fn-0', router: '169.254.200.2' }, undefined)).not.toMatch(/dport 53|undefined/);
});

test('every place of every block has an address of its own, inside its block and not the router’s', () => {
  const all = Array.from({ length: BLOCKS }, (_, block) => [0, 253, 254, 1999].map((slot) => addressOf(block, slot)));
  expect(new Set(all.flat()).size).toBe(BLOCKS * 4);
  expect(all.flat()).not.toContain('198.18.0.1');
  expect(addressOf(0, 0)).toBe('198.18.0.2');
  expect([blockRange(0), blockRange(1), blockRange(63)]).toEqual(['198.18.0.0/21', '198.18.8.0/21', '198.19.248.0/21']);
  expect(addressOf(63, 1999)).toBe('198.19.255.209');
  expect(() => addressOf(0, 2046)).toThrow(/no address/);
});

test('the link takes the place of the hash, or the next one that nothing on the machine uses', () => {
  expect(chooseLink('00000000', [])).toEqual({ machine: '169.254.170.1', router: '169.254.170.2' });
  expect(chooseLink('00000000', ['169.254.170.0/30', '169.254.170.6'])).toEqual({
    machine: '169.254.170.9',
    router: '169.254.170.10',
  });
  expect(chooseLink('00000000', ['169.254.0.0/16', '10.0.0.0/8']).machine).toBe('169.254.170.1');
  expect(chooseLink('ffffffff', [])).not.toEqual(chooseLink('fffffffe', []));
});

test('a destination is an IPv4 address, an IPv4 range or a host name, and nothing that could become a rule', () => {
  expect(parseDestination('10.1.0.0/16')).toEqual({ range: '10.1.0.0/16' });
  expect(parseDestination('192.0.2.7')).toEqual({ range: '192.0.2.7/32' });
  expect(parseDestination('API.Example.com')).toEqual({ name: 'api.example.com' });
  expect(parseDestination('db')).toEqual({ name: 'db' });
  const refused = ['', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '10.0.0.0/08', '300.1.1.1', '127.1', '2130706433'];
  const alsoRefused = [
    '::1',
    'fd00::/8',
    '*.example.com',
    'a b',
    'a}; drop',
    'a\n',
    '-a.b',
    'a..b',
    'http://a.b/',
    'a.b:80',
  ];
  for (const text of [...refused, ...alsoRefused]) expect([text, parseDestination(text)]).toEqual([text, undefined]);
});

test('lists that allow the same are the same', () => {
  expect(egressKey(['b.test', '10.0.0.0/8', 'A.test'])).toBe(egressKey(['a.test', 'B.test', '10.0.0.0/8', 'b.test']));
  expect(egressKey(['internet.test'])).not.toBe(egressKey('internet'));
});

test('functions are answered by FN_DNS, else by the first server of the machine that is not on loopback', async () => {
  await using directory = await testDirectory();
  const root = await directory.write({
    plain: '# comment\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n',
    stub: 'nameserver 127.0.0.53\noptions edns0\n',
    v6: 'nameserver fd00::1\nnameserver 10.0.0.3\n',
  });
  const [plain, stub, v6] = ['plain', 'stub', 'v6'].map((name) => `${root}/${name}`) as [string, string, string];
  expect(findResolver('', [plain, v6])).toBe('10.0.0.1');
  expect(findResolver('', [stub, v6])).toBe('10.0.0.3');
  expect(findResolver('', [stub, `${root}/missing`])).toBeUndefined();
  expect(findResolver('9.9.9.9', [plain])).toBe('9.9.9.9');
});
