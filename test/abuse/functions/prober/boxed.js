/** The same probes for whoever reads JSON objects only, as the worker does: the answer is the object's `value`. */

import probe from './index.js';

export default async function boxed(request) {
  const answer = await probe(request);
  return Response.json({ value: await answer.json() });
}
