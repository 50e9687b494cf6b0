/** The secrets that webhooks are checked with. They are in memory as they are in the store, sealed, and opened for the moment
 *  of a check. */

import { FnError } from '../../core/errors.ts';
import type { SecretRecord } from '../../core/records.ts';
import type { SecretBox } from '../../core/secrets.ts';

export class Vault {
  readonly #box: SecretBox | undefined;
  readonly #find: (name: string) => SecretRecord | undefined;

  /** @param box undefined: this gateway can open none.
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
    if (!this.#box) throw new FnError('secret.unreadable', 'this gateway has no master key');
    return this.#box.open(name, record.sealed);
  }
}
