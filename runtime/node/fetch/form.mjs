/** Form data as a body, both ways. */

/** Before install.mjs replaces it. */
export const nativeFetch = globalThis.fetch;

/** multipart/form-data as the HTML standard encodes it.
 *  @param {FormData} form @returns {{ source: ReadableStream<Uint8Array>, type: string }} */
export function encodeForm(form) {
  const boundary = `----fn-${globalThis.crypto.randomUUID()}`;
  async function* parts() {
    for (const [name, value] of form) {
      const head = `--${boundary}\r\nContent-Disposition: form-data; name="${escape(name)}"`;
      if (typeof value === 'string') {
        yield Buffer.from(`${head}\r\n\r\n${value.replace(/\r?\n|\r/g, '\r\n')}\r\n`);
        continue;
      }
      const type = value.type || 'application/octet-stream';
      yield Buffer.from(`${head}; filename="${escape(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`);
      yield* /** @type {AsyncIterable<Uint8Array>} */ (value.stream());
      yield Buffer.from('\r\n');
    }
    yield Buffer.from(`--${boundary}--\r\n`);
  }
  const source = /** @type {any} */ (ReadableStream).from(parts());
  return { source, type: `multipart/form-data; boundary=${boundary}` };
}

/** @param {string} text */
function escape(text) {
  return text.replace(/\r?\n|\r/g, '%0D%0A').replaceAll('"', '%22');
}

/** The parser is undici's. Node gives its Response class only by the global we have replaced, or as what fetch returns.
 *  @param {Uint8Array<ArrayBuffer>} bytes @param {string} type @returns {Promise<FormData>} */
export async function decodeForm(bytes, type) {
  const { constructor } = await nativeFetch('data:,');
  const NativeResponse = /** @type {typeof Response} */ (constructor);
  return new NativeResponse(bytes, { headers: { 'content-type': type } }).formData();
}
