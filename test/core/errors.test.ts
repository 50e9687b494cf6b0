import { expect, test } from 'vitest';
import { type ErrorCode, ERRORS, FnError, fromProblem, toFnError } from '../../core/errors.ts';

test('codes say area and case', () => {
  const codes = Object.keys(ERRORS);
  expect(codes.filter((code) => !/^([a-z]+\.[a-z_]+|internal)$/.test(code))).toEqual([]);
});

test('every error says what happened and what to do, in sentences', () => {
  for (const [code, { status, title, hint }] of Object.entries(ERRORS)) {
    expect({ code, status }).toEqual({
      code,
      status: expect.toSatisfy((value: number) => value >= 400 && value < 600),
    });
    expect({ code, title }).toEqual({ code, title: expect.stringMatching(/^([A-Z]|fn\.yaml ).*[^.]$/) });
    expect({ code, hint }).not.toEqual({ code, hint: '' });
  }
});

test('an error becomes a problem and back, with all it carries', () => {
  const error = new FnError('function.load_failed', 'x is not defined', {
    hint: 'define x',
    retryAfterS: 3,
    logs: ['a', 'b'],
    data: { line: 7 },
  });
  const problem = error.toProblem({ component: 'worker', requestId: 'r1' });
  expect(problem).toMatchObject({
    type: 'urn:fn:error:function.load_failed',
    status: 502,
    code: 'function.load_failed',
    detail: 'x is not defined',
    component: 'worker',
    requestId: 'r1',
  });
  const back = fromProblem(JSON.parse(JSON.stringify(problem)));
  expect(back).toBeInstanceOf(FnError);
  expect(back?.toProblem({ component: 'worker', requestId: 'r1' })).toEqual(problem);
});

test('what is not a problem of ours is none', () => {
  for (const value of [undefined, null, 'text', 7, {}, { code: 'function.oom' }, { code: 'toString', detail: 'x' }]) {
    expect(fromProblem(value)).toBeUndefined();
  }
});

test('anything thrown becomes internal and stays the cause; ours stays itself', () => {
  const cause = new TypeError('boom');
  expect(toFnError(cause)).toMatchObject({ code: 'internal', message: 'boom', cause });
  expect(toFnError('text').message).toBe('text');
  const ours = new FnError('function.oom' satisfies ErrorCode, 'too much');
  expect(toFnError(ours)).toBe(ours);
});

test.each([
  Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' }),
  new Error('MISCONF Errors writing to the AOF file: No space left on device'),
])('a full disk is told as one: %s', (error) => {
  expect(toFnError(error)).toMatchObject({ code: 'storage.full', cause: error });
});
