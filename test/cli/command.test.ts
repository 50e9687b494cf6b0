import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { helpOf } from '../../cli/help.ts';
import { VERBS } from '../../cli/verbs.ts';
import type { Problem } from '../../core/errors.ts';
import { FN, fn } from '../support/command.ts';
import { testDirectory } from '../support/directory.ts';

describe('the launcher', () => {
  test('runs from any directory', async () => {
    expect(await fn(['version'], { cwd: '/' })).toMatchObject({ code: 0, stderr: '' });
  });

  test('runs through links to links, absolute and relative', async () => {
    await using directory = await testDirectory();
    await symlink(FN, join(directory.path, 'first'));
    await symlink('first', join(directory.path, 'second'));
    const { code, stdout } = await fn(['version'], { program: join(directory.path, 'second') });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^fn \d+\.\d+\.\d+ \(node 2[4-9]/);
  });
});

test('without a verb it shows all of them and says that this was no command', async () => {
  const { code, stdout } = await fn([]);
  expect(code).toBe(2);
  for (const name of Object.keys(VERBS)) expect(stdout).toContain(`\n  ${name} `);
});

describe('help', () => {
  test.each(Object.entries(VERBS))('of %s has flags and an example', async (name, { load }) => {
    const help = helpOf(name, (await load()).verb);
    expect(help).toMatch(new RegExp(`^Usage: fn ${name}\\b`));
    expect(help).toContain('--json');
    expect(help).toMatch(/\nExamples:\n {2}\S/);
  });

  test('is shown by each way to ask for it, whatever else is wrong', async () => {
    const { code, stdout } = await fn(['help', 'deploy']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Usage: fn deploy \[dir…\]\n/);
    expect((await fn(['deploy', '--help', '--wrong'])).stdout).toBe(stdout);
    expect((await fn(['deploy', '-h'])).stdout).toBe(stdout);
  });
});

describe('a command that is wrong ends with code 2 and the nearest right one', () => {
  test.each([
    [['depoly'], 'there is no verb "depoly"', 'Did you mean "fn deploy"?'],
    [['ls', '--jsno'], 'fn ls: there is no flag --jsno', 'Did you mean --json?'],
    [['logs', 'hello', '--folow'], 'there is no flag --folow', 'Did you mean --follow?'],
    [['ls', 'extra'], '"extra" is one argument too many', 'Usage: fn ls'],
    [['inspect'], '<name> is missing', 'Usage: fn inspect <name>'],
    [['key'], 'fn key: <create|ls|rm> is missing', 'Usage: fn key <create|ls|rm>'],
    [['logs', 'hello', '--tail', 'all'], 'not "all"', 'See "fn help logs"'],
    [['invoke', 'hello', '--wait'], '--wait needs --async', 'See "fn help invoke"'],
    [['invoke', 'hello', '-X', 'NO SUCH'], '"NO SUCH" is no method', 'See "fn help invoke"'],
    [['alias', 'set', 'hello@live', '1=90', '2=5'], 'the weights sum to 95, not to 100', 'Usage: fn alias set'],
    [['logs', 'hello', '--since'], '--since needs a value', 'See "fn help logs"'],
    [['logs', 'hello', '--since', '--follow'], '--since needs a value', 'See "fn help logs"'],
    [['logs', 'hello', '--since', 'yesterday'], '--since takes a duration such as 5m', 'Units: ms, s, m, h, d.'],
    [['ls', '--json=yes'], '--json takes no value', 'See "fn help ls"'],
    [['rm'], 'which function?', 'fn rm --all'],
    [
      ['init', '/tmp/x', '--template', 'htp'],
      '--template must be one of http, event, queue',
      'Did you mean --template http?',
    ],
    [['completion', 'tcsh'], 'there is no completion for "tcsh"', 'One of bash, zsh, fish.'],
  ])('%j', async (args, detail, hint) => {
    const { code, stdout, stderr } = await fn(args);
    expect(stdout).toBe('');
    expect(stderr).toContain(detail);
    expect(stderr).toContain(hint);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(code).toBe(2);
  });
});

describe('without a platform', () => {
  test.each([
    ['ls'],
    ['status'],
    ['inspect', 'hello'],
    ['logs', 'hello'],
    ['rm', '--all'],
    ['invoke', 'hello'],
    ['deploy', '/'],
  ])('fn %s says how to start one', async (...args) => {
    await using home = await testDirectory();
    const { code, stderr } = await fn(args, { env: { FN_HOME: home.path } });
    expect(code).toBe(1);
    expect(stderr).toContain(`no platform was ever started in ${home.path}`);
    expect(stderr).toContain('npm start');
  });

  test('with --json the failure is one problem object on standard error', async () => {
    await using home = await testDirectory();
    const { code, stdout, stderr } = await fn(['ls', '--json'], { env: { FN_HOME: home.path } });
    expect(code).toBe(1);
    expect(stdout).toBe('');
    const problem = JSON.parse(stderr) as Problem;
    expect(problem).toMatchObject({ code: 'server.unreachable', status: 503 });
  });

  test('a bad setting is named with its meaning', async () => {
    const { code, stderr } = await fn(['ls'], { env: { FN_API_PORT: '99999' } });
    expect(code).toBe(2);
    expect(stderr).toContain('FN_API_PORT must be a whole number from 0 to 65535, not "99999"');
  });
});

describe('completion', () => {
  test.each(['bash', 'zsh', 'fish'])('for %s knows every verb and flag', async (shell) => {
    const { code, stdout } = await fn(['completion', shell]);
    expect(code).toBe(0);
    for (const name of Object.keys(VERBS)) expect(stdout).toContain(name);
    expect(stdout).toContain('follow');
  });

  test('for bash completes verbs and flags', async () => {
    const { stdout } = await fn(['completion', 'bash']);
    const complete = async (...words: string[]): Promise<string[]> => {
      const script = `${stdout}\nCOMP_WORDS=(${words.join(' ')})\nCOMP_CWORD=${words.length - 1}\n_fn\nprintf '%s\\n' "\${COMPREPLY[@]}"`;
      const found = await fn(['-c', script], { program: '/bin/bash' });
      expect(found.stderr).toBe('');
      return found.stdout.trim().split('\n');
    };
    expect(await complete('fn', 'in')).toEqual(['init', 'invoke', 'inspect', 'invocations']);
    expect(await complete('fn', 'logs', '--f')).toEqual(['--follow']);
  });
});
