/** A function for warm.mjs. */

export async function handler() {
  return { statusCode: 200, body: '' };
}
