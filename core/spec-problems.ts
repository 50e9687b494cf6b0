/** Says in words what is wrong with a value that does not fit specSchema. Everything said about what is allowed comes from
 *  the schema itself (as JSON Schema), so a new key needs no new message. Runs only after a validation failed. */

import { z } from 'zod';
import { nearest } from './nearest.ts';
import { specSchema } from './spec.ts';

export type Path = readonly PropertyKey[];
type Issue = z.core.$ZodIssue;
type JsonSchema = z.core.JSONSchema.JSONSchema;

export interface SpecProblem {
  /** Where: the key that is wrong, or the place where one is missing. */
  readonly path: Path;
  readonly text: string;
}

/** @param data what was validated, for quoting what was found. */
export function describeIssues(issues: readonly Issue[], data: unknown): SpecProblem[] {
  const schema = z.toJSONSchema(specSchema, { io: 'input', unrepresentable: 'any' });
  return issues.flatMap((issue) => describe(issue, [], schema, data));
}

function describe(issue: Issue, base: Path, schema: JsonSchema, data: unknown): SpecProblem[] {
  const path = [...base, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...path, key], text: unknownKey([...path, key], key, schema) }));
  }
  if (issue.code === 'invalid_key') {
    return [{ path, text: `${name(path)}: the key must be ${issue.issues[0]?.message ?? 'text'}` }];
  }
  if (issue.code === 'invalid_union' && issue.message === 'Invalid input') {
    return describeUnion(issue.errors, path, schema, data);
  }
  return [{ path, text: `${name(path)}: ${wish(issue, schemaAt(schema, path))}${found(issue, valueAt(data, path))}` }];
}

/** A union of maps, each known by its one key (`http`, `queue`, `cron`), or of words and a map (`rate`): complain about the
 *  alternative that is there. */
function describeUnion(branches: readonly Issue[][], path: Path, schema: JsonSchema, data: unknown): SpecProblem[] {
  const value = valueAt(data, path);
  const alternatives = schemaAt(schema, path).anyOf ?? [];
  const words = alternatives.filter((one) => one.type !== 'object');
  if (words.length > 0 && (typeof value !== 'object' || value === null || Array.isArray(value))) {
    return [{ path, text: `${name(path)}: ${wishOfWords(words, alternatives)}${foundWord(value, words)}` }];
  }
  const maps = branches.filter((_, index) => alternatives[index]?.type === 'object');
  const [only] = maps;
  if (only && maps.length === 1) return only.flatMap((issue) => describe(issue, path, schema, data));
  const keys = Object.keys(Object(value));
  const meant = branches.find((issues) => issues.every((issue) => keys.includes(String(issue.path[0]))));
  if (meant) return meant.flatMap((issue) => describe(issue, path, schema, data));
  const known = keysOf(schemaAt(schema, path));
  const unknown = keys.filter((key) => !known.includes(key)).map((key) => [...path, key]);
  if (unknown.length === 0) return [{ path, text: `${name(path)}: a map with one of the keys ${known.join(', ')}` }];
  return unknown.map((at) => ({ path: at, text: unknownKey(at, String(at.at(-1)), schema) }));
}

/** `none, key, or a map with the keys jwt, webhook`. */
function wishOfWords(words: readonly JsonSchema[], alternatives: readonly JsonSchema[]): string {
  const allowed = words.map((one) => (typeof one['allowed'] === 'string' ? one['allowed'] : one.enum?.join(', ')));
  const keys = alternatives.flatMap((one) => (one.type === 'object' ? keysOf(one) : []));
  const one = alternatives.length - words.length > 1 ? 'one of the keys' : 'the keys';
  return `${allowed.join(', ')}, or a map with ${one} ${keys.join(', ')}`;
}

function foundWord(value: unknown, words: readonly JsonSchema[]): string {
  if (value === null) return ' (found nothing)';
  if (Array.isArray(value)) return ' (found a list)';
  const known = words.flatMap((one) => (one.enum ?? []).map(String));
  const near = typeof value === 'string' ? nearest(value, known) : undefined;
  return ` (found ${JSON.stringify(value).slice(0, 60)})${near ? `; did you mean ${near}?` : ''}`;
}

function unknownKey(path: Path, key: string, schema: JsonSchema): string {
  const known = keysOf(schemaAt(schema, path.slice(0, -1)));
  const near = nearest(key, known);
  return `${name(path)} is not a key here; ${near ? `did you mean ${near}?` : `known are ${known.join(', ')}`}`;
}

/** What would be right, in words. */
function wish(issue: Issue, schema: JsonSchema): string {
  if (issue.code === 'custom' || issue.code === 'invalid_format') return issue.message;
  if (issue.code === 'invalid_union' && issue.message !== 'Invalid input') return issue.message;
  if (typeof schema['allowed'] === 'string') return schema['allowed'];
  if (schema.enum) return `one of ${schema.enum.join(', ')}`;
  const { minimum, maximum, exclusiveMinimum } = schema;
  switch (schema.type) {
    case 'integer':
      return `a whole number from ${minimum} to ${maximum}`;
    case 'number':
      return `a number above ${exclusiveMinimum}, at most ${maximum}`;
    case 'array':
      if (issue.code === 'too_big') return `at most ${schema.maxItems} entries`;
      return issue.code === 'too_small' ? 'at least one entry' : 'a list';
    case 'string':
      return 'text';
    default:
      return `a map with the keys ${keysOf(schema).join(', ') || 'you choose'}`;
  }
}

function found(issue: Issue, value: unknown): string {
  if (value === undefined) return ' (missing)';
  if (value === null) return ' (found nothing)';
  if (typeof value !== 'object') return ` (found ${JSON.stringify(value).slice(0, 60)})${suggestion(issue, value)}`;
  if (issue.code !== 'invalid_type' && issue.code !== 'invalid_union') return '';
  return Array.isArray(value) ? ' (found a list)' : ' (found a map)';
}

function suggestion(issue: Issue, value: unknown): string {
  const near =
    issue.code === 'invalid_value'
      ? nearest(String(value), issue.values.map(String))
      : issue.code === 'custom' && withUnit(issue.message, String(value));
  return near ? `; did you mean ${near}?` : '';
}

/** `scale.min`, `triggers[0].queue.attempts`. */
function name(path: Path): string {
  if (path.length === 0) return 'the file';
  return path
    .map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index ? '.' : ''}${String(part)}`))
    .join('');
}

function valueAt(data: unknown, path: Path): unknown {
  let value = data;
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

function schemaAt(schema: JsonSchema, path: Path): JsonSchema {
  let current: JsonSchema[] = [schema];
  for (const part of path) {
    current = current
      .flatMap((one) => [one, ...(one.anyOf ?? [])])
      .flatMap((one) => {
        const next =
          typeof part === 'number' ? one.items : (one.properties?.[String(part)] ?? one.additionalProperties);
        return typeof next === 'object' && !Array.isArray(next) ? [next] : [];
      });
  }
  return current[0] ?? {};
}

function keysOf(schema: JsonSchema): string[] {
  const branches = [schema, ...(schema.anyOf ?? [])];
  return branches.flatMap((one) => Object.keys(one.properties ?? {}));
}

/** Units as they are written elsewhere: AWS Lambda's memory is a number of MiB, its timeout a number of seconds. Longer numbers
 *  are bytes or ms, most likely. */
const UNITS: readonly (readonly [wanted: string, written: RegExp, unit: string])[] = [
  ['a size', /^(\d{1,5})$/, 'Mi'],
  ['a duration', /^(\d{1,3})( ?secs?| ?seconds?)?$/i, 's'],
  ['a duration', /^(\d{1,3}) ?(mins?|minutes?)$/i, 'm'],
];

function withUnit(wanted: string, value: string): string | undefined {
  for (const [start, written, unit] of UNITS) {
    const number = wanted.startsWith(start) ? written.exec(value)?.[1] : undefined;
    if (number !== undefined && Number(number) > 0) return `${number}${unit}`;
  }
  return undefined;
}
