/** A60: replies that are not HTTP, or HTTP that two readers could take apart differently. The function writes them to its
 *  connection to the gateway itself; what the client sees is told as `<status> <code or body>`, or `broken`. */

import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { Problem } from '../../../core/errors.ts';
import { eventually } from '../../support/eventually.ts';
import type { TestPlatform } from '../../support/platform.ts';
import type { AbuseCase } from './case.ts';

export interface ReplyCase extends AbuseCase {
  readonly path: string;
  /** What the client sees, or how to find out. */
  readonly sees: string | ((platform: TestPlatform, url: string) => Promise<void>);
}

const PARSER = 'the gateway reads replies as strictly as requests';
const BAD = '502 function.bad_reply';
const MIB = 2 ** 20;

const bad = (path: string, tried: string): ReplyCase => ({
  id: 'A60',
  tried,
  result: '502 function.bad_reply',
  heldBy: PARSER,
  path,
  sees: BAD,
});

export const REPLY_CASES: readonly ReplyCase[] = [
  bad('garbage', 'replies with what is not HTTP'),
  bad('bare-lf', 'ends lines with a bare LF'),
  bad('nul-in-field', 'puts NUL into a field'),
  bad('bare-cr-in-field', 'hides a field behind a bare CR'),
  bad('folded-field', 'hides a field in a folded line'),
  bad('ten-thousand-fields', 'sends 10,000 fields'),
  bad('two-lengths', 'sends two Content-Lengths'),
  bad('length-and-chunked', 'sends Content-Length and Transfer-Encoding'),
  bad('other-encoding', 'sends an encoding besides chunked'),
  bad('switches-protocols', 'switches protocols without being asked'),
  bad('status-099', 'sends a status below 100'),
  bad('http-2', 'claims another version'),
  bad('framing-in-trailer', 'sends Content-Length in a trailer'),
  bad('chunk-extension-flood', 'sends 100 kB of chunk extensions'),
  bad('chunk-too-large', 'sends a chunk of 2^64 bytes'),
  {
    id: 'A60',
    tried: 'sets a header that holds a line end',
    result: '500: Node refuses it',
    heldBy: 'node:http',
    path: 'field-injection',
    sees: '500 {"errorType":"TypeError","errorMessage":"Invalid character in header content [\\"x-a\\"]"}',
  },
  {
    id: 'A60',
    tried: 'sends more than its Content-Length',
    result: 'cut to it; the connection is not used again',
    heldBy: PARSER,
    path: 'length-too-small',
    sees: '200 ok',
  },
  {
    id: 'A60',
    tried: 'sends less than its Content-Length',
    result: 'a broken reply, never a whole one',
    heldBy: PARSER,
    path: 'length-too-large',
    sees: 'broken',
  },
  {
    id: 'A60',
    tried: 'answers one request with two replies',
    result: 'the second reaches nobody',
    heldBy: 'a connection with bytes left over is closed',
    path: 'two-replies',
    sees: '200 ok',
  },
  {
    id: 'A60',
    tried: 'sends a reply when nobody has asked',
    result: 'it reaches nobody, or at worst the next caller of the same function; the one after that gets his own',
    heldBy: 'a connection with bytes left over is closed; none is shared between instances',
    path: 'reply-to-nobody',
    async sees(platform, url) {
      expect(await sight(platform, url)).toBe('200 ok');
      const seen: string[] = [];
      await eventually(async () => {
        expect(await sight(platform, '/function/echo')).not.toContain('EVIL');
        const own = `?${seen.length}`;
        seen.push(await sight(platform, `/function/replies/sent-to-nobody${own}`));
        expect(seen.at(-1)).toBe(`200 1 ${own}`);
      });
      const foreign = seen.filter((one) => !/^200 [01] \?\d+$/.test(one));
      expect(foreign).toEqual(seen.includes('200 EVIL') ? ['200 EVIL'] : []);
    },
  },
  {
    id: 'A60',
    tried: 'sends the fields that only the platform sends',
    result: 'dropped',
    heldBy: PARSER,
    path: 'forged-platform-fields',
    async sees(platform, url) {
      const reply = await platform.call(url, { headers: { 'x-request-id': 'mine' } });
      expect(reply.headers.get('x-request-id')).toBe('mine');
      expect(reply.headers.get('x-fn-instance')).toMatch(/^replies-/);
      expect(reply.headers.get('x-fn-start')).toMatch(/^(warm|thawed|claimed|cold);/);
      expect(reply.headers.get('x-fn-error')).toBeNull();
    },
  },
  {
    id: 'A60',
    tried: 'sends fields for ever',
    result: '504 at its timeout',
    heldBy: 'the timeout covers the head',
    path: 'endless-head',
    sees: '504 function.timeout',
  },
  {
    id: 'A60',
    tried: 'sends interim replies for ever',
    result: '504 at its timeout',
    heldBy: 'interim replies do not stop the timeout',
    path: 'endless-interim',
    sees: '504 function.timeout',
  },
  {
    id: 'A60',
    tried: 'sends a body without end to a client that reads a little and stops',
    result: 'held back; the gateway holds none of it; over when the client goes',
    heldBy: 'back-pressure through the gateway',
    path: 'endless-body',
    async sees(platform, url) {
      const [gateway = 0] = await platform.pids('gateway');
      const before = residentBytes(gateway);
      const stop = new AbortController();
      const reply = await platform.call(url, { signal: stop.signal });
      const reader = reply.body?.getReader();
      for (let read = 0; read < 64 * MIB;) read += (await reader?.read())?.value?.length ?? Infinity;
      expect(residentBytes(gateway) - before).toBeLessThan(128 * MIB);
      stop.abort();
      await eventually(async () => expect(await sight(platform, '/function/replies/fine?more')).toBe('200 fine ?more'));
    },
  },
];

/** What a client sees of it. */
export async function sight(platform: TestPlatform, url: string): Promise<string> {
  try {
    const reply = await platform.call(url);
    const text = await reply.text();
    return `${reply.status} ${reply.headers.has('x-fn-error') ? (JSON.parse(text) as Problem).code : text}`;
  } catch {
    return 'broken';
  }
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}
