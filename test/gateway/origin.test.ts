import { describe, expect, it } from 'vitest';
import { AddressSet } from '../../core/addresses.ts';
import { originOf } from '../../gateway/origin.ts';
import { startPlatform } from './support/platform.ts';
import { exchange } from './support/wire.ts';

const OURS = new AddressSet(['10.0.0.0/8', '2001:db8::/32']);
const from = (...lines: string[]) => originOf('10.0.0.1', lines.map((line) => `${line}\r\n`).join(''), OURS);

describe('the origin of a request', () => {
  it.each([
    [['X-Forwarded-For: 192.0.2.7'], '192.0.2.7'],
    [['X-Forwarded-For: 6.6.6.6, 192.0.2.7'], '192.0.2.7'],
    [['X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.9.9.9'], '192.0.2.7'],
    [['X-Forwarded-For: 6.6.6.6', 'X-Forwarded-For: 192.0.2.7, 10.9.9.9'], '192.0.2.7'],
    [['X-Forwarded-For: 192.0.2.7:4711'], '192.0.2.7'],
    [['X-Forwarded-For: ::ffff:192.0.2.7'], '192.0.2.7'],
    [['X-Forwarded-For: 6.6.6.6, [2001:db9::1]:4711, 2001:db8::1'], '2001:db9::1'],
    [['X-Forwarded-For: 10.1.1.1, 10.2.2.2'], '10.1.1.1'],
    [['X-Forwarded-For: 192.0.2.7, unknown'], '10.0.0.1'],
    [['X-Forwarded-For: 6.6.6.6, <script>, 10.2.2.2'], '10.2.2.2'],
    [['X-Forwarded-For: '], '10.0.0.1'],
    [['Forwarded: for=192.0.2.7'], '192.0.2.7'],
    [['Forwarded: for=6.6.6.6, For="[2001:db9::1]:80";proto=https, for=10.2.2.2'], '2001:db9::1'],
    [['Forwarded: for="6.6.6.6, for=192.0.2.7"'], '10.0.0.1'],
    [['Forwarded: for=_hidden'], '10.0.0.1'],
    [['X-Real-IP: 192.0.2.7'], '192.0.2.7'],
    [['X-Forwarded-For: 192.0.2.7', 'Forwarded: for=6.6.6.6', 'X-Real-IP: 6.6.6.6'], '192.0.2.7'],
    [['Forwarded: for=192.0.2.7', 'X-Real-IP: 6.6.6.6'], '192.0.2.7'],
    [[], '10.0.0.1'],
  ])('%j is %s', (lines, address) => expect(from(...lines).address).toBe(address));

  it('has the scheme and the host that the proxy names, if it is one', () => {
    expect(from('X-Forwarded-For: 192.0.2.7', 'X-Forwarded-Proto: https', 'X-Forwarded-Host: a.test:8443')).toEqual({
      address: '192.0.2.7',
      scheme: 'https',
      host: 'a.test:8443',
    });
    expect(from('Forwarded: for=6.6.6.6;proto=http, for=192.0.2.7;proto=https;host="a.test"')).toEqual({
      address: '192.0.2.7',
      scheme: 'https',
      host: 'a.test',
    });
    expect(from('X-Forwarded-Proto: gopher', 'X-Forwarded-Host: a b')).toMatchObject({
      scheme: undefined,
      host: undefined,
    });
  });
});

describe('FN_TRUSTED_PROXIES', () => {
  const request = (name: string, fields: string): string =>
    `GET /function/${name} HTTP/1.1\r\nHost: a\r\n${fields}Connection: close\r\n\r\n`;
  const SPOOFED = 'X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Forwarded-Proto: https\r\n';

  it('decides whether the address is believed: for the function, for allow and for rate', async () => {
    for (const [proxies, address, near] of [
      ['127.0.0.0/8, ::1', '192.0.2.7', 200],
      ['10.0.0.0/8', '127.0.0.1', 403],
      ['', '127.0.0.1', 403],
    ] as const) {
      await using platform = await startPlatform({ FN_TRUSTED_PROXIES: proxies });
      await platform.run({ name: 'mirror', rate: '1/d' }, (asked, response) => {
        response.end(JSON.stringify(asked.headers));
      });
      await platform.run({ name: 'near', allow: ['192.0.2.0/24'] }, (_, response) => response.end());
      const seen = await exchange(platform.port, request('mirror', SPOOFED));
      expect(seen).toContain(`"x-forwarded-for":"${address}"`);
      expect(seen).toContain(`"forwarded":"for=${address};proto=${near === 200 ? 'https' : 'http'};host=\\"a\\""`);
      expect(seen).not.toContain('6.6.6.6');
      expect(await exchange(platform.port, request('near', SPOOFED))).toContain(`HTTP/1.1 ${near} `);
      const other = await exchange(platform.port, request('mirror', 'X-Forwarded-For: 192.0.2.8\r\n'));
      expect(other).toContain(`HTTP/1.1 ${near === 200 ? 200 : 429} `);
    }
  });

  it('tells requests of one connection apart', async () => {
    await using platform = await startPlatform({ FN_TRUSTED_PROXIES: '127.0.0.1' });
    await platform.run({ name: 'mirror' }, (asked, response) =>
      response.end(`<${String(asked.headers['x-forwarded-for'])}>`),
    );
    const line = 'GET /function/mirror HTTP/1.1\r\nHost: a\r\n';
    const text = await exchange(
      platform.port,
      `${line}X-Forwarded-For: 192.0.2.1\r\n\r\n${line}X-Forwarded-For: 192.0.2.2\r\n\r\n${line}Connection: close\r\n\r\n`,
    );
    expect(text.match(/<[^>]+>/g)).toEqual(['<192.0.2.1>', '<192.0.2.2>', '<127.0.0.1>']);
  });
});
