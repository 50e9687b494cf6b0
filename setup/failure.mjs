/** What stops a set-up, told as one: what is wrong, and the command that helps. */

export class SetupError extends Error {
  /** @param {string} message @param {string} hint what to type */
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

/** @param {unknown} error @returns {number} the exit code */
export function fail(error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`error: ${error.message}`);
  console.error(`hint: ${error.hint}`);
  return 1;
}
