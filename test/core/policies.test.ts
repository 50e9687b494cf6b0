import { expect, test } from 'vitest';
import { policiesOf } from '../../core/policies.ts';
import { parseSpecFile } from '../../core/spec-file.ts';

const of = (text: string) => policiesOf(parseSpecFile(`name: a\n${text}`));

test('without policies nothing is restricted', () => {
  expect(of('triggers: [{ http: { path: / } }]')).toEqual({ own: {}, http: [{}] });
});

test('what stands at the top holds for every way in, unless a trigger says otherwise', () => {
  expect(of('auth: key\ntriggers: [{ http: { path: /a } }, { http: { path: /b, auth: none } }]')).toEqual({
    own: { auth: 'key' },
    http: [{ auth: 'key' }, { auth: 'none' }],
  });
});

test('what only http triggers say holds for the other ways in as well', () => {
  const one = { auth: 'key' };
  expect(of('triggers: [{ http: { path: /a, auth: key } }]')).toEqual({ own: one, http: [one] });
  expect(of('triggers: [{ http: { path: /a, auth: key } }, { http: { path: /b } }]')).toEqual({
    own: one,
    http: [one, one],
  });
});
