/** The secrets of a store as a process uses them: in memory they are as they are in the store, sealed, and opened for the
 *  moment they are needed. */

import { FnError } from './errors.ts';
import type { SecretRecord } from './records.ts';
import type { SecretBox } from './secrets.ts';

export class Vault {
  readonly #box: SecretBox | undefined;
  readonly #find: (name: string) => SecretRecord | undefined;

  /** @param box undefined: this process can open none.
   *  @param find the record of a secret. */
  constructor(box: SecretBox | undefined, find: (name: string) => SecretRecord | undefined) {
    this.#box = box;
    this.#find = find;
  }

  /** @throws FnError secret.missing, secret.unreadable. */
  open(name: string): Buffer {
    const record = this.#find(name);
    if (!record) {
      throw new FnError('secret.missing', `there is no secret ${name}`, { hint: `Set it: fn secret set ${name}` });
    }
    if (!this.#box) throw new FnError('secret.unreadable', 'this process has no master key');
    return this.#box.open(name, record.sealed);
  }

  /** Values as text. @param names by variable. @throws as open. */
  variables(names: Readonly<Record<string, string>> = {}): Record<string, string> {
    return Object.fromEntries(Object.entries(names).map(([variable, name]) => [variable, this.open(name).toString()]));
  }
}
