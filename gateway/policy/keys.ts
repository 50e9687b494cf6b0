/** `auth: key`. The keys are in memory, so a check costs one hash; a key that is revoked is gone here as soon as the change
 *  stream says so, or at the next full look seconds later. The key itself stays here: a function learns its name, and could
 *  do nothing with it but call other functions in its caller's name. */

import { HEADERS } from '../../core/control.ts';
import { FnError } from '../../core/errors.ts';
import type { FunctionName } from '../../core/ids.ts';
import { isKey, keyIdOf } from '../../core/keys.ts';
import type { KeyRecord } from '../../core/records.ts';
import type { Millis } from '../../core/units.ts';
import type { Identity } from './call.ts';
import { valuesOf, withoutFields } from './fields.ts';

/** The keys by their id. */
export class KeyRing {
  readonly #byId = new Map<string, KeyRecord>();
  readonly #byName = new Map<string, KeyRecord>();

  /** `undefined`: the key of this name is no more. */
  set(name: string, record: KeyRecord | undefined): void {
    const before = this.#byName.get(name);
    if (before) this.#byId.delete(before.id);
    this.#byName.delete(name);
    if (!record) return;
    this.#byName.set(name, record);
    this.#byId.set(record.id, record);
  }

  /** Finds out who calls, by the key in the fields.
   *  @param now unix ms.
   *  @throws FnError key.required, key.invalid, key.refused. */
  identify(fields: string, name: FunctionName, now: Millis): Identity {
    const { text, field } = keyIn(fields);
    const record = this.#byId.get(keyIdOf(text) ?? '');
    if (!record || !isKey(text, record)) throw new FnError('key.invalid', 'the API key is not known here');
    if (record.expiresAt !== undefined && record.expiresAt <= now) {
      throw new FnError('key.invalid', `the API key ${record.name} has expired`);
    }
    if (record.functions && !record.functions.includes(name)) {
      throw new FnError('key.refused', `the API key ${record.name} does not open ${name}`);
    }
    return {
      caller: `key:${record.name}`,
      fields: `${withoutFields(fields, [field])}${HEADERS.keyName}: ${record.name}\r\n`,
    };
  }
}

/** The key a request carries, and the field it came in. */
function keyIn(fields: string): { text: string; field: string } {
  const own = valuesOf(fields, 'x-api-key');
  if (own.length > 1) throw new FnError('key.invalid', 'the request carries several X-Api-Key fields');
  if (own[0] !== undefined) return { text: own[0], field: 'x-api-key' };
  const authorization = valuesOf(fields, 'authorization');
  if (authorization.length > 1) throw new FnError('key.invalid', 'the request carries several Authorization fields');
  const text = /^bearer +(\S+)$/i.exec(authorization[0] ?? '')?.[1];
  if (text === undefined) throw new FnError('key.required', 'the request carries no API key');
  return { text, field: 'authorization' };
}
