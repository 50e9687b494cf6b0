/** A request's whole body. By events: `for await` over a request takes 0.4 ms longer the first time, which is a claim's. */

/** @import { IncomingMessage } from 'node:http' */

/** Undefined when there is more than `limit` bytes. Rejects when the client goes away.
 *  @param {IncomingMessage} request @param {number} [limit] @returns {Promise<Buffer<ArrayBuffer> | undefined>} */
export function readBody(request, limit = Infinity) {
  return new Promise((resolve, reject) => {
    /** @type {Buffer<ArrayBuffer>[]} */
    const chunks = [];
    let length = 0;
    if (/** @type {any} */ (request).isEmpty) {
      resolve(Buffer.alloc(0));
      return;
    }
    if (request.destroyed) reject(new Error('the request is gone, nothing can be read of it'));
    request.on('data', (chunk) => {
      length += chunk.length;
      if (length <= limit) chunks.push(chunk);
      else resolve(undefined);
    });
    request.on('end', () => {
      const [first] = chunks;
      resolve(first && chunks.length === 1 ? first : Buffer.concat(chunks));
    });
    request.on('error', reject);
  });
}
