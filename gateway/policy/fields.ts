/** Reading and removing single fields among the lines of a head. Only requests to functions with policies pay for it. */

/** The values of the field in the order of its lines; `name` in lower case. */
export function valuesOf(fields: string, name: string): string[] {
  const values: string[] = [];
  for (const line of linesOf(fields)) if (nameOf(line) === name) values.push(line.slice(name.length + 1).trim());
  return values;
}

/** The lines without those of the fields named. A name spelt with `_` goes too: a program that gets its headers as CGI
 *  variables cannot tell `x_api_key` from `x-api-key`. */
export function withoutFields(fields: string, names: readonly string[]): string {
  let kept = '';
  for (const line of linesOf(fields)) if (!names.includes(nameOf(line).replaceAll('_', '-'))) kept += line;
  return kept;
}

/** The lines without those that only the gateway says. */
export function withoutCors(fields: string): string {
  let kept = '';
  for (const line of linesOf(fields)) if (!nameOf(line).startsWith('access-control-')) kept += line;
  return kept;
}

function nameOf(line: string): string {
  return line.slice(0, line.indexOf(':')).toLowerCase();
}

function* linesOf(fields: string): Generator<string> {
  for (let at = 0; at < fields.length;) {
    const end = fields.indexOf('\n', at) + 1;
    yield fields.slice(at, end);
    at = end;
  }
}
