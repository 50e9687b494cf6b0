/** Reads fn.yaml. Every problem is found in one pass and said with its line: a person fixes the file once. The file comes
 *  from an upload, so it is bounded: 64 KiB, 16 levels, no aliases (nine of them nested make a billion values), no tags. */

import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLError } from 'yaml';
import { FnError } from './errors.ts';
import { type FunctionSpec, QUANTITY_KEYS, specSchema } from './spec.ts';
import { describeIssues, type Path } from './spec-problems.ts';
import type { Bytes } from './units.ts';

const FILE_LIMIT: Bytes = 64 * 1024;
const DEPTH_LIMIT = 16;
const SHOWN_PROBLEMS = 20;

/** @param file how to call it in messages.
 *  @throws FnError spec.invalid whose detail has one `<file>:<line>: <what>` a line; `data.problems` holds them apart. */
export function parseSpecFile(text: string, file = 'fn.yaml'): FunctionSpec {
  const reader = new SpecReader(text);
  const data = reader.problems.length === 0 ? reader.read() : undefined;
  if (reader.problems.length === 0) {
    const parsed = specSchema.safeParse(data);
    if (parsed.success) return parsed.data;
    for (const { path, text } of describeIssues(parsed.error.issues, data)) reader.complain(reader.lineOf(path), text);
  }
  const problems = reader.problems.toSorted((a, b) => a.line - b.line).slice(0, SHOWN_PROBLEMS);
  const more = reader.problems.length - problems.length;
  const lines = problems.map(({ line, text }) => `${file}:${line}: ${text}`);
  if (more > 0) lines.push(`and ${more} more`);
  throw new FnError('spec.invalid', lines.join('\n'), { data: { problems } });
}

/** Turns YAML into plain data and remembers which line each key stands on. */
class SpecReader {
  readonly problems: { line: number; text: string }[] = [];
  readonly #lines = new Map<string, number>();
  readonly #counter = new LineCounter();
  readonly #root: Node | null = null;

  constructor(text: string) {
    if (Buffer.byteLength(text) > FILE_LIMIT) {
      this.complain(1, `the file is larger than ${FILE_LIMIT / 1024} KiB`);
      return;
    }
    const document = parseDocument(text, { lineCounter: this.#counter, prettyErrors: false, schema: 'core' });
    for (const error of [...document.errors, ...document.warnings]) {
      this.complain(this.#counter.linePos(error.pos[0]).line, sentence(error, text));
    }
    this.#root = document.contents;
  }

  read(): unknown {
    if (this.#root === null || (isScalar(this.#root) && this.#root.value === null)) {
      this.complain(1, 'the file is empty; it needs at least a name');
      return undefined;
    }
    return this.#data(this.#root, []);
  }

  complain(line: number, text: string): void {
    this.problems.push({ line, text });
  }

  /** The line of the key at this path, or of the nearest one above that exists. */
  lineOf(path: Path): number {
    for (let length = path.length; length > 0; length--) {
      const line = this.#lines.get(JSON.stringify(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return 1;
  }

  #data(node: unknown, path: (string | number)[]): unknown {
    const here = isNode(node) ? this.#line(node) : this.lineOf(path);
    if (path.length > 0 && !this.#lines.has(JSON.stringify(path))) this.#lines.set(JSON.stringify(path), here);
    if (path.length > DEPTH_LIMIT) {
      this.complain(here, `nested deeper than ${DEPTH_LIMIT} levels`);
      return undefined;
    }
    if (isAlias(node)) {
      this.complain(here, `aliases (*${node.source}) are not supported; write the value out`);
      return undefined;
    }
    if (isNode(node) && node.tag !== undefined && !PLAIN_TAGS.has(node.tag)) {
      this.complain(here, `tags (${node.tag}) are not supported`);
      return undefined;
    }
    if (isSeq(node)) return node.items.map((item, index) => this.#data(item, [...path, index]));
    if (isMap(node)) return this.#map(node.items, path, here);
    return isScalar(node) ? scalar(node.value, node.source, path) : null;
  }

  #map(items: readonly { key: unknown; value: unknown }[], path: (string | number)[], line: number): unknown {
    const entries: [string, unknown][] = [];
    for (const { key, value } of items) {
      if (!isScalar(key)) {
        this.complain(line, 'a key must be plain text');
        continue;
      }
      const name = key.source ?? String(key.value);
      this.#lines.set(JSON.stringify([...path, name]), this.#line(key));
      entries.push([name, this.#data(value, [...path, name])]);
    }
    return Object.fromEntries(entries); // Defines, never assigns: __proto__ is a key like any other.
  }

  #line(node: Node): number {
    return this.#counter.linePos(node.range?.[0] ?? 0).line;
  }
}

const PLAIN_TAGS = new Set(
  ['map', 'seq', 'str', 'int', 'float', 'bool', 'null'].map((tag) => `tag:yaml.org,2002:${tag}`),
);

function isNode(value: unknown): value is Node {
  return isScalar(value) || isMap(value) || isSeq(value) || isAlias(value);
}

/** Quantities and variables are text for us, as written: `cpu: 2` is two cores, `VERSION: 1.10` keeps its zero. */
function scalar(value: unknown, source: string | undefined, path: Path): unknown {
  const asText = path.length === 2 && path[0] === 'env' ? value !== null : QUANTITY_KEYS.has(String(path.at(-1)));
  return asText && typeof value !== 'string' && value !== null && source !== undefined ? source : value;
}

function sentence(error: Pick<YAMLError, 'code' | 'message' | 'pos'>, text: string): string {
  switch (error.code) {
    case 'DUPLICATE_KEY':
      return `${/^[\w-]+/.exec(text.slice(error.pos[0]))?.[0] ?? 'a key'} is given twice`;
    case 'TAB_AS_INDENT':
      return 'indent with spaces, not tabs';
    case 'MULTIPLE_DOCS':
      return 'one document only; remove the line ---';
    case 'BLOCK_AS_IMPLICIT_KEY':
      return 'not valid YAML: quote a value that contains ": ", and check the indentation';
    default:
      return `not valid YAML: ${error.message}`;
  }
}
