import { expect, test } from 'vitest';
import { bytes, NODE, OURS, outcome, type Program, stream } from './same.ts';

test.each<[string, Program]>([
  ['defaults', ({ Response }) => facts(new Response())],
  [
    'a text',
    ({ Response }) => facts(new Response('hällo', { status: 201, statusText: 'Made', headers: { 'x-a': '1' } })),
  ],
  ['a given type', ({ Response }) => facts(new Response('x', { headers: { 'content-type': 'text/html' } }))],
  ['a number', ({ Response }) => facts(new Response(42 as unknown as string))],
  ['bytes', ({ Response }) => facts(new Response(bytes('abc').subarray(1)))],
  ['a buffer', ({ Response }) => facts(new Response(bytes('abc').buffer))],
  ['a view', ({ Response }) => facts(new Response(new DataView(bytes('abcd').buffer, 1, 2)))],
  ['a form', ({ Response }) => facts(new Response(new URLSearchParams({ a: 'b c' })))],
  ['a blob', ({ Response }) => facts(new Response(new Blob(['ab'], { type: 'text/x' })))],
  ['a stream', ({ Response }) => facts(new Response(stream(bytes('a'), bytes('b'))))],
  ['a stream of what is not bytes', ({ Response }) => facts(new Response(stream('text')))],
  ['null', ({ Response }) => facts(new Response(null, { status: 204 }))],
  ['a body where there is none', ({ Response }) => facts(new Response('x', { status: 204 }))],
  ['an empty body where there is none', ({ Response }) => facts(new Response('', { status: 304 }))],
  ['a status below 200', ({ Response }) => facts(new Response(null, { status: 199 }))],
  ['a status above 599', ({ Response }) => facts(new Response(null, { status: 600 }))],
  ['a status that is text', ({ Response }) => facts(new Response(null, { status: '201' as unknown as number }))],
  ['a status that is none', ({ Response }) => facts(new Response(null, { status: 'x' as unknown as number }))],
  ['a reason with a line break', ({ Response }) => facts(new Response(null, { statusText: 'a\nb' }))],
  ['json', ({ Response }) => facts(Response.json({ a: [1] }, { status: 201 }))],
  [
    'json with a type',
    ({ Response }) => facts(Response.json(1, { headers: { 'content-type': 'application/x+json' } })),
  ],
  ['json of nothing', ({ Response }) => facts(Response.json(undefined))],
  ['redirect', ({ Response }) => facts(Response.redirect('http://a/ b', 301))],
  ['redirect with a status that is none', ({ Response }) => facts(Response.redirect('http://a/', 200 as 302))],
  ['redirect to what is no URL', ({ Response }) => facts(Response.redirect('::'))],
  ['error', ({ Response }) => facts(Response.error())],
  [
    'a response as init',
    ({ Response }) => facts(new Response('b', new Response('a', { status: 202, headers: { a: '1' } }))),
  ],
  ['a byte order mark', async ({ Response }) => [...bytes(await new Response('\ufeffa\ufeff').text())]],
  ['a lone surrogate', async ({ Response }) => [...bytes(await new Response('a\ud800').text())]],
  [
    'reading twice',
    async ({ Response }) => {
      const response = new Response('x');
      await response.text();
      return response.text();
    },
  ],
  [
    'reading nothing twice',
    async ({ Response }) => {
      const response = new Response();
      return [await response.text(), await response.text(), response.bodyUsed];
    },
  ],
  [
    'reading while somebody else does',
    async ({ Response }) => {
      const response = new Response('x');
      response.body?.getReader();
      return response.text();
    },
  ],
  [
    'reading what was cancelled',
    async ({ Response }) => {
      const response = new Response(stream(bytes('a')));
      await response.body?.cancel();
      return [response.bodyUsed, await response.text()];
    },
  ],
  [
    'the body after reading',
    async ({ Response }) => {
      const response = new Response('x');
      await response.text();
      return [response.bodyUsed, response.body?.locked];
    },
  ],
  [
    'a stream that was read',
    async ({ Response }) => {
      const source = stream(bytes('a'));
      await source.getReader().read();
      return facts(new Response(source));
    },
  ],
  ['json that is none', ({ Response }) => new Response('{').json()],
  [
    'every form of a body',
    async ({ Response }) => [
      [...new Uint8Array(await new Response('ab').arrayBuffer())],
      [...(await new Response('ab').bytes())],
      await (await new Response('ab', { headers: { 'content-type': 'a/b' } }).blob()).text(),
      (await new Response('ab', { headers: { 'content-type': 'a/b' } }).blob()).type,
    ],
  ],
  [
    'clone',
    async ({ Response }) => {
      const response = new Response('ab', { status: 201, headers: { a: '1' } });
      const clone = response.clone();
      return [await facts(response), await facts(clone)];
    },
  ],
  [
    'clone of a stream',
    async ({ Response }) => {
      const response = new Response(stream(bytes('a'), bytes('b')));
      return Promise.all([response.clone().text(), response.text()]);
    },
  ],
  [
    'clone without a type',
    async ({ Response }) => {
      const response = new Response('ab');
      response.headers.delete('content-type');
      return facts(response.clone());
    },
  ],
  [
    'clone of what was read',
    async ({ Response }) => {
      const response = new Response('ab');
      await response.text();
      return facts(response.clone());
    },
  ],
  ['a form, decoded', async ({ Response }) => [...(await new Response(new URLSearchParams('a=1&a=2&b=ü')).formData())]],
  [
    'form data there and back',
    async ({ Response }) => {
      const form = new FormData();
      form.append('na"me', 'line\nbreak');
      form.append('file', new File(['content'], 'ä.txt', { type: 'text/x' }));
      const back = await new Response(form).formData();
      const file = back.get('file') as File;
      return [back.get('na"me'), file.name, file.type, await file.text()];
    },
  ],
  ['a type that is no form', ({ Response }) => new Response('x').formData()],
  [
    'instanceof',
    ({ Response }) => [
      new Response() instanceof Response,
      {} instanceof Response,
      (null as unknown) instanceof Response,
    ],
  ],
  [
    'a subclass',
    ({ Response }) => {
      class Mine extends Response {}
      return [new Mine() instanceof Mine, new Mine() instanceof Response, new Response() instanceof Mine];
    },
  ],
])('Response, %s', async (_, program) => {
  expect(await outcome(program, OURS)).toEqual(await outcome(program, NODE));
});

async function facts(response: Response): Promise<unknown> {
  const { status, statusText, ok, type, url, redirected, headers, bodyUsed } = response;
  const body = response.body === null ? null : await response.text();
  return {
    status,
    statusText,
    ok,
    type,
    url,
    redirected,
    headers: [...headers],
    bodyUsed,
    body,
    after: response.bodyUsed,
  };
}
