/** Renders the Markdown of the request's body as an HTML page. */

import { marked } from 'marked';

export default async function render(request) {
  if (request.method !== 'POST') {
    return Response.json({ error: 'POST the Markdown' }, { status: 405, headers: { allow: 'POST' } });
  }
  const body = marked.parse(await request.text());
  const headers = {
    'content-type': 'text/html; charset=utf-8',
    // Markdown may hold HTML of whoever wrote it: a browser that shows the page must not run scripts in it.
    'content-security-policy': "default-src 'none'; img-src https: data:; style-src 'unsafe-inline'; sandbox",
  };
  return new Response(`<!doctype html>\n<meta charset="utf-8">\n${body}`, { headers });
}
