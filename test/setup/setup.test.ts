import { describe, expect, test } from 'vitest';
import { differenceOf } from '../../setup/dependencies.mjs';
import { majorOf } from '../../setup/node.mjs';
import { commandFor, missingFor } from '../../setup/packages.mjs';
import { summarize, summaryLine } from '../../setup/summary.mjs';
import { REQUIREMENTS } from '../../setup/table.mjs';

const nothing = (): undefined => undefined;
const never = (): boolean => false;
const has =
  (...names: string[]) =>
  (name: string): string | undefined =>
    names.includes(name) ? `/usr/bin/${name}` : undefined;

describe('what is missing', () => {
  test('on a bare machine is everything the purpose needs, and no more', () => {
    const start = missingFor('start', nothing, never).map((one) => one.package);
    expect(start).toContain('redis-server');
    expect(start).toContain('crun');
    expect(start).not.toContain('skopeo');
    const all = missingFor('test', nothing, never).map((one) => one.package);
    expect(all).toEqual(expect.arrayContaining([...start, 'skopeo', 'umoci', 'podman']));
  });

  test('is nothing where every program is there', () => {
    expect(
      missingFor(
        'test',
        (name) => name,
        () => true,
      ),
    ).toEqual([]);
  });

  test('is not Redis where Valkey is, nor crun where runc is', () => {
    const found = missingFor('start', has('valkey-server', 'runc'), never).map((one) => one.package);
    expect(found).not.toContain('redis-server');
    expect(found).not.toContain('crun');
  });
});

describe('the command that installs it', () => {
  const missing = REQUIREMENTS.filter((one) => ['crun', 'iproute2'].includes(one.package));

  test.each([
    ['apt-get', 'apt-get install crun iproute2'],
    ['dnf', 'dnf install crun iproute'],
    ['pacman', 'pacman -S crun iproute2'],
    ['apk', 'apk add crun iproute2'],
  ])('with %s is "%s"', (manager, command) => expect(commandFor(missing, has(manager))).toBe(command));

  test('elsewhere names the packages of each', () => {
    expect(commandFor(missing, nothing)).toBe(
      'apt-get install crun iproute2 (Fedora: crun iproute; Arch: crun iproute2; Alpine: crun iproute2)',
    );
  });
});

describe('npm packages', () => {
  const a = { version: '1.0.0', integrity: 'sha512-a' };
  const wanted = {
    packages: { '': { version: '0.1.0' }, 'node_modules/a': a, 'node_modules/b': { version: '2.0.0', optional: true } },
  };

  test('are in order when npm noted what is wanted; optional ones may be for other systems', () => {
    expect(differenceOf(wanted, { packages: { 'node_modules/a': a } })).toBeUndefined();
    expect(
      differenceOf(wanted, { packages: { 'node_modules/a': a, 'node_modules/b': { version: '2.0.0' } } }),
    ).toBeUndefined();
  });

  test.each([
    ['a is missing', {}],
    ['a has changed', { 'node_modules/a': { version: '1.0.1', integrity: 'sha512-a' } }],
    ['a has changed', { 'node_modules/a': { version: '1.0.0', integrity: 'sha512-b' } }],
    ['b has changed', { 'node_modules/a': a, 'node_modules/b': { version: '1.0.0' } }],
    ['node_modules/c is no longer wanted', { 'node_modules/a': a, 'node_modules/c': a }],
  ])('are installed again when %s', (why, packages) => expect(differenceOf(wanted, { packages })).toBe(why));
});

test('the major version of Node is read', () => {
  expect(majorOf('v24.1.0')).toBe(24);
  expect(majorOf('v20.20.2\n')).toBe(20);
  expect(majorOf('')).toBe(0);
});

describe('the last line of npm test', () => {
  const file = (status: string, ...tests: string[]) => ({
    status,
    assertionResults: tests.map((one) => ({ status: one })),
  });

  test('counts tests by how they ended', () => {
    const report = {
      testResults: [file('passed', 'passed', 'passed', 'skipped'), file('failed', 'failed', 'passed', 'todo')],
    };
    expect(summaryLine(summarize(report, 1))).toBe('3 passed, 1 failed, 2 skipped');
  });

  test('counts a file that could not be loaded as one that failed', () => {
    expect(summarize({ testResults: [file('failed'), file('passed', 'passed')] }, 1)).toEqual({
      passed: 1,
      failed: 1,
      skipped: 0,
    });
  });

  test('never says that all is well when the run did not', () => {
    expect(summarize({ testResults: [file('passed', 'passed')] }, 1)).toEqual({ passed: 1, failed: 1, skipped: 0 });
    expect(summarize(undefined, 1)).toEqual({ passed: 0, failed: 1, skipped: 0 });
    expect(summarize(undefined, 0)).toEqual({ passed: 0, failed: 0, skipped: 0 });
  });
});
