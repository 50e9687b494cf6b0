/** Makes an image smaller: PNG, JPEG or WebP in the body of a POST, the same format back, `?width=` pixels wide. Whoever
 *  sends the image is not trusted: only these three decoders are switched on, and bytes and pixels are bounded. */

import sharp from 'sharp';

const MAX_BYTES = Number(process.env.MAX_INPUT_MB ?? 25) * 2 ** 20;
const MAX_PIXELS = 50_000_000;
const WIDTH = { least: 16, most: 2000, usual: 256 };

sharp.block({ operation: ['VipsForeignLoad'] });
sharp.unblock({ operation: ['Jpeg', 'Png', 'Webp'].map((format) => `VipsForeignLoad${format}Buffer`) });
sharp.cache(false); // Every image is another one.

export default {
  async fetch(request) {
    if (request.method !== 'POST') return refuse(405, 'POST an image', { allow: 'POST' });
    const asked = new URL(request.url).searchParams.get('width') ?? String(WIDTH.usual);
    const width = /^\d{1,5}$/.test(asked) ? Number(asked) : 0;
    if (width < WIDTH.least || width > WIDTH.most) {
      return refuse(400, `width must be a whole number from ${WIDTH.least} to ${WIDTH.most}, not "${asked}"`);
    }
    const input = await read(request);
    if (!input) return refuse(413, `an image has at most ${MAX_BYTES / 2 ** 20} MB`);
    if (input.length === 0) return refuse(400, 'the body is empty: send the image as it is, not as a form');
    return shrink(input, width);
  },
};

async function shrink(input, width) {
  const image = sharp(input, { limitInputPixels: MAX_PIXELS, sequentialRead: true });
  try {
    const { format } = await image.metadata();
    const { data, info } = await image.autoOrient().resize({ width, withoutEnlargement: true }).toBuffer({
      resolveWithObject: true,
    });
    return new Response(data, {
      headers: { 'content-type': `image/${format}`, 'x-image-size': `${info.width}x${info.height}` },
    });
  } catch (error) {
    if (/unsupported image format|operation is blocked/.test(error.message)) {
      return refuse(415, 'not a PNG, JPEG or WebP image');
    }
    if (/pixel limit/.test(error.message)) return refuse(413, `an image has at most ${MAX_PIXELS / 1e6} megapixels`);
    return refuse(400, `the image cannot be decoded: ${error.message.split('\n')[0]}`);
  }
}

/** The body, or undefined when there is more of it than allowed. */
async function read(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    length += chunk.length;
    if (length > MAX_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function refuse(status, error, headers = {}) {
  return Response.json({ error }, { status, headers });
}
