import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Policies } from '../../core/policies.ts';
import { type FunctionSpec, QUANTITY_KEYS, specSchema } from '../../core/spec.ts';
import { parseSpecFile } from '../../core/spec-file.ts';
import { thrownBy } from '../support/thrown.ts';

function problemsOf(text: string): string[] {
  const error = thrownBy(() => parseSpecFile(text));
  expect(error.code).toBe('spec.invalid');
  return error.message.split('\n');
}

test('everything but the name has a default', () => {
  expect(parseSpecFile('name: hello')).toEqual({
    name: 'hello',
    runtime: 'node',
    handler: 'index.default',
    memory: 256 * 2 ** 20,
    cpu: 1000,
    timeout: 30_000,
    isolation: 'instance',
    concurrency: 1,
    scale: { min: 0, max: 20, target: 0.7, idle: 60_000 },
    env: {},
    network: { egress: 'none' },
    triggers: [],
  } satisfies Record<Exclude<keyof FunctionSpec, keyof Policies | 'sticky' | 'secrets'>, unknown>);
});

test('quantities are read with their units, and a bare number of cores is cores', () => {
  const spec = parseSpecFile(`
name: a
memory: 1Gi
cpu: 2
timeout: 1.5s
scale: { idle: 5m }
triggers:
  - queue: { name: q, delay: 250ms }`);
  expect(spec).toMatchObject({ memory: 2 ** 30, cpu: 2000, timeout: 1500, scale: { idle: 300_000 } });
  expect(spec.triggers).toMatchObject([{ queue: { delay: 250 } }]);
  expect(parseSpecFile('name: a\ncpu: 0.5').cpu).toBe(500);
});

test('every key with a unit is known as one, so that no bare number is misread', () => {
  const withUnits = new Set<string>();
  JSON.stringify(z.toJSONSchema(specSchema, { io: 'input', unrepresentable: 'any' }), (key, value: unknown) => {
    if (String(Object(value).type) === 'string,number') withUnits.add(key);
    return value;
  });
  expect([...withUnits].toSorted()).toEqual([...QUANTITY_KEYS].toSorted());
});

test('a parsed specification parses to itself again', () => {
  const spec = parseSpecFile('name: a\nmemory: 128Mi\ntriggers: [{ cron: { schedule: "*/5 * * * *" } }]');
  expect(specSchema.parse(structuredClone(spec))).toEqual(spec);
});

test('a variable is text or a secret, not both', () => {
  const secrets = { STRIPE_KEY: 'stripe' };
  expect(parseSpecFile('name: a\nsecrets: { STRIPE_KEY: stripe }').secrets).toEqual(secrets);
  const problems = problemsOf('name: a\nenv: { STRIPE_KEY: x }\nsecrets: { STRIPE_KEY: stripe }');
  expect(problems.join('\n')).toContain('secrets.STRIPE_KEY: is in env already');
  expect(problemsOf('name: a\nsecrets: { A: ../x }').join('\n')).toContain('the name of a secret');
});

test('egress is a policy or a list of addresses and names', () => {
  const egressOf = (text: string): unknown => parseSpecFile(`name: a\nnetwork: { egress: ${text} }`).network.egress;
  expect(egressOf('internet')).toBe('internet');
  expect(egressOf('[10.1.0.0/16, 192.0.2.7, api.example.com]')).toEqual([
    '10.1.0.0/16',
    '192.0.2.7',
    'api.example.com',
  ]);
});

test('variables keep the text as written', () => {
  const { env } = parseSpecFile('name: a\nenv: { VERSION: 1.10, OCTAL: 007, HEX: 0x1F, FLAG: True, TEXT: "1.0" }');
  expect(env).toEqual({ VERSION: '1.10', OCTAL: '007', HEX: '0x1F', FLAG: 'True', TEXT: '1.0' });
});

describe('what is wrong is said with its line, what is allowed, and the nearest known key', () => {
  test.each([
    ['name: a\nmemroy: 1Gi', 'fn.yaml:2: memroy is not a key here; did you mean memory?'],
    ['name: a\nscale:\n  mix: 1', 'fn.yaml:3: scale.mix is not a key here; did you mean min?'],
    ['name: a\nscale: { zzzzzz: 1 }', 'fn.yaml:2: scale.zzzzzz is not a key here; known are min, max, target, idle'],
    ['name: a\nmemory: lots', 'fn.yaml:2: memory: a size from 64Mi to 64Gi, such as 256Mi (found "lots")'],
    ['name: a\nmemory: [1]', 'fn.yaml:2: memory: a size from 64Mi to 64Gi, such as 256Mi (found a list)'],
    ['name: a\ntimeout: 30', '2: timeout: a duration from 100ms to 24h, such as 30s (found "30"); did you mean 30s?'],
    ['name: a\ntimeout: 2 minutes', '(found "2 minutes"); did you mean 2m?'],
    ['name: a\nmemory: 512', '(found "512"); did you mean 512Mi?'],
    ['name: a\ncpu:', 'fn.yaml:2: cpu: cores from 10m to 64, such as 500m or 2 (found nothing)'],
    ['name: a\nconcurrency: many', 'fn.yaml:2: concurrency: a whole number from 1 to 1000 (found "many")'],
    ['name: a\nconcurrency: 0', 'fn.yaml:2: concurrency: a whole number from 1 to 1000 (found 0)'],
    ['name: a\nscale: { target: 2 }', 'fn.yaml:2: scale.target: a number above 0, at most 1 (found 2)'],
    ['name: a\nscale: 3', 'fn.yaml:2: scale: a map with the keys min, max, target, idle (found 3)'],
    ['name: a\nscale: { min: 30 }', 'fn.yaml:2: scale.min: scale.min must not exceed scale.max (found 30)'],
    [
      'name: a\nnetwork: { egress: intrenet }',
      'fn.yaml:2: network.egress: none, internet, internal, or a list of at most 32 IPv4 ranges and host names (found',
    ],
    ['name: a\nnetwork: { egres: none }', 'fn.yaml:2: network.egres is not a key here; did you mean egress?'],
    [
      'name: a\nnetwork:\n  egress:\n    - 10.0.0.0/8\n    - "*.example.com"',
      'fn.yaml:5: network.egress[1]: an IPv4 range such as 10.1.0.0/16, or a host name (found "*.example.com")',
    ],
    ['name: a\nnetwork: { egress: ["fd00::/8"] }', 'fn.yaml:2: network.egress[0]: an IPv4 range'],
    ['name: a\nruntime: noed', 'fn.yaml:2: runtime: one of node (found "noed"); did you mean node?'],
    ['name: a\nhandler: ../x.y', 'fn.yaml:2: handler: a file inside the directory (found "../x.y")'],
    ['memory: 1Gi', 'fn.yaml:1: name: a DNS label: lower-case letters, digits and "-", at most 40'],
    ['name: 5', 'starting with a letter (found 5)'],
    ['name: a\nenv: { 9a: x }', 'fn.yaml:2: env.9a: the key must be a variable name'],
    ['name: a\nenv:\n  A:', 'fn.yaml:3: env.A: text, a number, true or false (found nothing)'],
    ['name: a\nenv: [x]', 'fn.yaml:2: env: a map with the keys you choose (found a list)'],
    ['name: a\ntriggers: {}', 'fn.yaml:2: triggers: a list (found a map)'],
    ['name: a\ntriggers:\n  - htpp: { path: / }', 'fn.yaml:3: triggers[0].htpp is not a key here; did you mean http?'],
    ['name: a\ntriggers:\n  - http: {}', 'fn.yaml:3: triggers[0].http.path: a path that starts with / (missing)'],
    [
      'name: a\ntriggers:\n  - queue:\n      name: q\n      attempts: 0',
      'fn.yaml:5: triggers[0].queue.attempts: a whole number from 1 to 100 (found 0)',
    ],
    ['name: a\ntriggers: [3]', 'fn.yaml:2: triggers[0]: a map with one of the keys http, queue, cron'],
    [
      'name: a\ntriggers:\n  - cron: { schedule: "@daily" }\n    http: { path: / }',
      'fn.yaml:3: triggers[0]: a map with one of the keys http, queue, cron',
    ],
    [
      'name: a\ntriggers:\n  - http: { path: /, methods: [GOT] }',
      'fn.yaml:3: triggers[0].http.methods[0]: one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS (found "GOT"); did you mean GET?',
    ],
    [
      'name: a\nrate: 100',
      'fn.yaml:2: rate: requests per s, m, h or d, such as 100/s, or a map with the keys limit, per, burst (found 100)',
    ],
    ['name: a\nrate: { limt: 1/s }', 'fn.yaml:2: rate.limt is not a key here; did you mean limit?'],
    ['name: a\nrate: { per: key }', 'fn.yaml:2: rate.limit: requests per s, m, h or d, such as 100/s (missing)'],
    ['name: a\nrate: { limit: 1/s, per: ke }', 'fn.yaml:2: rate.per: one of key, address (found "ke"); did you mean'],
    [
      'name: a\nallow:\n  - 10.0.0.0/8\n  - 10.0.0.0/40',
      'fn.yaml:4: allow[1]: an address or a range, such as 10.1.0.0/16 or 2001:db8::/32 (found "10.0.0.0/40")',
    ],
    ['name: a\nbodyLimit: 5Gi', 'fn.yaml:2: bodyLimit: a size from 1 to 4Gi, such as 1Mi (found "5Gi")'],
    [
      'name: a\ncors: { origins: [app.example.com] }',
      'fn.yaml:2: cors.origins[0]: an origin in lower case such as https://app.example.com or https://*.example.com, or *',
    ],
    [
      'name: a\ncors: { origins: ["*"], credentials: true }',
      'fn.yaml:2: cors.credentials: credentials need origins by name, not *',
    ],
    [
      'name: a\nauth: kye',
      'fn.yaml:2: auth: none, key, or a map with one of the keys webhook, jwt (found "kye"); did you mean key?',
    ],
    [
      'name: a\nauth:\n  jwt: { issuer: x, audience: y, jwksUri: "http://example.com/keys" }',
      'fn.yaml:3: auth.jwt.jwksUri: an https URL, or an http URL of this machine (found "http://example.com/keys")',
    ],
    [
      'name: a\nauth:\n  jwt: { issuer: x, audience: y, jwksUri: "https://e.test/k", algorithms: [HS256] }',
      'fn.yaml:3: auth.jwt.algorithms[0]: one of RS256, RS384, RS512, PS256,',
    ],
    [
      'name: a\nauth:\n  jwt: { issuer: x, audience: y }',
      'fn.yaml:3: auth.jwt.jwksUri: an https URL, or an http URL of',
    ],
    ['name: a\nauth: { webhok: {} }', 'fn.yaml:2: auth.webhok is not a key here; did you mean webhook?'],
    [
      'name: a\nauth:\n  webhook: { scheme: githb, secret: x }',
      'fn.yaml:3: auth.webhook.scheme: one of github, stripe, generic (found "githb"); did you mean github?',
    ],
    [
      'name: a\nauth:\n  webhook: { scheme: generic, secret: x }',
      'fn.yaml:3: auth.webhook.header: the name of a header (missing)',
    ],
    [
      'name: a\nauth:\n  webhook: { scheme: github, secret: x, header: y }',
      'fn.yaml:3: auth.webhook.header: only with scheme: generic (found "y")',
    ],
    [
      'name: a\ntriggers:\n  - http: { path: /, auht: key }',
      'fn.yaml:3: triggers[0].http.auht is not a key here; did you mean auth?',
    ],
    [
      'name: a\ntriggers:\n  - http: { path: /a, auth: key }\n  - http: { path: /b, auth: none }',
      'fn.yaml:1: auth: must be written at the top as well, for /function/a: the http triggers differ',
    ],
    ['name: a\nname: b', 'fn.yaml:2: name is given twice'],
    ['name: a\nscale:\n\tmin: 1', 'fn.yaml:3: indent with spaces, not tabs'],
    ['name: a\n---\nname: b', 'fn.yaml:2: one document only; remove the line ---'],
    ['- name: a', 'fn.yaml:1: the file: a map with the keys name, runtime,'],
    ['', 'fn.yaml:1: the file is empty; it needs at least a name'],
    ['# nothing\n', 'fn.yaml:1: the file is empty; it needs at least a name'],
    ['name: a\n__proto__: { x: 1 }', 'fn.yaml:2: __proto__ is not a key here'],
    ['name: a\n? [x]\n: 1', 'fn.yaml:1: a key must be plain text'],
  ])('%j', (text, expected) => {
    expect(problemsOf(text)).toContainEqual(expect.stringContaining(expected));
  });
});

test.each(['Hello', '9lives', 'a_b', '-a', 'a-', 'a.b', 'x'.repeat(41), 'ä'])('%s is not a name', (name) => {
  expect(problemsOf(`name: ${name}`)[0]).toMatch(/^fn\.yaml:1: name: a DNS label: lower-case letters/);
});

test('every problem is reported at once, in the order of the lines', () => {
  expect(problemsOf('nmae: a\nmemory: 1\ncpu: fast').map((line) => line.split(':')[1])).toEqual(['1', '1', '2', '3']);
});

test('a file with very many problems names the first of them and counts the rest', () => {
  const lines = problemsOf(`name: a\n${Array.from({ length: 100 }, (_, index) => `key${index}: 1`).join('\n')}`);
  expect(lines).toHaveLength(21);
  expect(lines.at(-1)).toBe('and 80 more');
});

test.each([
  ['aliases, with which a few lines become a billion values', 'name: a\nenv: &e { A: b }\nscale: *e', 'aliases (*e)'],
  ['tags', 'name: !!binary aGVsbG8=', 'tags (tag:yaml.org,2002:binary)'],
  ['unknown tags', 'name: !ruby/object x', 'not valid YAML: Unresolved tag'],
  ['more than 64 KiB', `name: a\n# ${'x'.repeat(65_536)}`, 'the file is larger than 64 KiB'],
  ['deep nesting', `name: a\nenv: ${'['.repeat(40)}${']'.repeat(40)}`, 'nested deeper than 16 levels'],
  ['nesting without an end', `name: ${'['.repeat(30_000)}`, 'not valid YAML'],
])('%s are refused', (_, text, expected) => {
  expect(problemsOf(text).join('\n')).toContain(expected);
});

test('the file is called what the caller calls it', () => {
  expect(() => parseSpecFile('nam: a', 'functions/hello/fn.yaml')).toThrow('functions/hello/fn.yaml:1: nam is not');
});
