import { describe, expect, it } from 'vitest';
import { FnError } from '../../core/errors.ts';
import { type Attempt, MAX_AGE, type Outcome, settle } from '../../worker/jobs/settle.ts';

const NOW = Date.parse('2025-06-01T12:00:00Z');
const FIRST: Attempt = { failed: 0, putOff: 0, age: 0, retry: { backoff: 'exponential', delay: 1000 } };
const latest = (): number => 1; // The random number that makes every wait its longest.

function reply(status: number, headers: Record<string, string> = {}, body = ''): Outcome {
  return { kind: 'reply', reply: { status, headers, body: Buffer.from(body) } };
}

function platform(error: FnError, headers: Record<string, string> = {}): Outcome {
  return reply(error.status, { 'x-fn-error': error.code, ...headers }, JSON.stringify(error.toProblem()));
}

describe('settle', () => {
  it.each([200, 201, 204, 206])('%i: done', (status) => {
    expect(settle(reply(status), FIRST, NOW).type).toBe('done');
  });

  it.each([301, 304, 400, 401, 403, 404, 409, 410, 413, 422])('%i: dead at once', (status) => {
    const verdict = settle(reply(status, {}, 'no'), FIRST, NOW);
    expect(verdict).toMatchObject({ type: 'dead', problem: { code: 'function.error', data: { status, body: 'no' } } });
  });

  it.each([408, 425, 429, 500, 502, 503, 504])('%i: again', (status) => {
    expect(settle(reply(status), FIRST, NOW, latest)).toMatchObject({ type: 'retry', after: 1000 });
  });

  it('waits twice as long after each failure', () => {
    const after = (failed: number): unknown => settle(reply(500), { ...FIRST, failed }, NOW, latest);
    expect([0, 1, 2, 3].map(after)).toMatchObject([{ after: 1000 }, { after: 2000 }, { after: 4000 }, { after: 8000 }]);
  });

  it('jitters an exponential wait and keeps a fixed one', () => {
    expect(settle(reply(500), FIRST, NOW, () => 0)).toMatchObject({ after: 500 });
    const fixed: Attempt = { ...FIRST, failed: 7, retry: { backoff: 'fixed', delay: 250 } };
    expect(settle(reply(500), fixed, NOW, latest)).toMatchObject({ after: 250 });
  });

  it('waits at least as long as Retry-After says, in seconds or as a date, an hour at most', () => {
    expect(settle(reply(429, { 'retry-after': '7' }), FIRST, NOW, latest)).toMatchObject({ after: 7000 });
    const date = new Date(NOW + 20_000).toUTCString();
    expect(settle(reply(503, { 'retry-after': date }), FIRST, NOW, latest)).toMatchObject({ after: 20_000 });
    expect(settle(reply(503, { 'retry-after': '999999' }), FIRST, NOW, latest)).toMatchObject({ after: 3_600_000 });
    expect(settle(reply(503, { 'retry-after': 'soon' }), FIRST, NOW, latest)).toMatchObject({ after: 1000 });
    expect(settle(reply(503, { 'retry-after': '0' }), FIRST, NOW, latest)).toMatchObject({ after: 1000 });
  });

  it('tries again after a crash, a timeout and a broken connection', () => {
    for (const code of ['function.crashed', 'function.oom', 'function.timeout', 'function.backoff'] as const) {
      expect(settle(platform(new FnError(code, 'x')), FIRST, NOW)).toMatchObject({ type: 'retry', problem: { code } });
    }
    const problem = new FnError('process.down', 'reset').toProblem();
    expect(settle({ kind: 'failed', problem }, FIRST, NOW)).toMatchObject({ type: 'retry', problem });
  });

  it('gives up at once when the function is gone or the body too large', () => {
    for (const code of ['function.not_found', 'body.too_large'] as const) {
      expect(settle(platform(new FnError(code, 'x')), FIRST, NOW)).toMatchObject({ type: 'dead', problem: { code } });
    }
  });

  it('spends no attempt on what never reached the function', () => {
    for (const code of ['capacity.max_reached', 'capacity.queue_full', 'capacity.node_full', 'process.down'] as const) {
      expect(settle(platform(new FnError(code, 'x')), FIRST, NOW, latest)).toEqual({ type: 'later', after: 500 });
    }
    expect(settle({ kind: 'unreachable' }, { ...FIRST, putOff: 20 }, NOW, latest)).toEqual({
      type: 'later',
      after: 30_000,
    });
    const busy = platform(new FnError('capacity.max_reached', 'x'), { 'retry-after': '2' });
    expect(settle(busy, FIRST, NOW, latest)).toEqual({ type: 'later', after: 2000 });
  });

  it('gives up what could not be delivered for hours', () => {
    const old = { ...FIRST, age: MAX_AGE + 1 };
    expect(settle({ kind: 'unreachable' }, old, NOW)).toMatchObject({
      type: 'dead',
      problem: { code: 'process.down' },
    });
  });

  it("takes a function's own 429 for what it is, whatever its body looks like", () => {
    const forged = reply(429, {}, JSON.stringify(new FnError('capacity.max_reached', 'x').toProblem()));
    expect(settle(forged, FIRST, NOW)).toMatchObject({ type: 'retry', problem: { code: 'function.error' } });
  });
});
