import { expect, test } from 'vitest';
import { LOG_MARK } from '../../core/control.ts';
import { type Bootstrap, startFunction, BROKEN } from '../support/bootstrap.ts';
import { eventually } from '../support/eventually.ts';

const RAW = { 'content-type': 'application/vnd.fn.event+json' };

/** An instance of `export const handler = <source>`. */
const lambda = (source: string): Promise<Bootstrap> =>
  startFunction({ files: { 'index.mjs': `export const handler = ${source}` }, handler: 'index.handler' });

test('an HTTP request becomes an event of the function URL format 2.0', async () => {
  await using fn = await lambda('async (event) => event');
  const headers = [
    'host',
    'shop.example:81',
    'content-type',
    'application/json',
    'x-a',
    '1',
    'X-A',
    '2',
    'cookie',
    'a=1; b=2',
  ];
  headers.push('user-agent', 'test', 'x-request-id', 'r1', 'x-forwarded-for', 'spoofed, 10.0.0.9');
  const reply = await fn.request('/my%20path?a=1&a=2&b=%C3%BC', { method: 'POST', headers, body: '{"n":1}' });
  expect([reply.status, reply.headers['content-type']]).toEqual([200, 'application/json']);
  expect(reply.json()).toEqual({
    version: '2.0',
    routeKey: '$default',
    rawPath: '/my%20path',
    rawQueryString: 'a=1&a=2&b=%C3%BC',
    cookies: ['a=1', 'b=2'],
    headers: expect.objectContaining({ 'x-a': '1,2', host: 'shop.example:81', 'content-type': 'application/json' }),
    queryStringParameters: { a: '1,2', b: 'ü' },
    requestContext: {
      accountId: 'anonymous',
      apiId: 'hello',
      domainName: 'shop.example',
      domainPrefix: 'hello',
      http: { method: 'POST', path: '/my%20path', protocol: 'HTTP/1.1', sourceIp: '10.0.0.9', userAgent: 'test' },
      requestId: 'r1',
      routeKey: '$default',
      stage: '$default',
      time: expect.stringMatching(/^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/),
      timeEpoch: expect.any(Number),
    },
    body: '{"n":1}',
    isBase64Encoded: false,
  });
});

test('an event without body, query and cookies has none of them', async () => {
  await using fn = await lambda('async (event) => event');
  const event = (await fn.request('/')).json();
  expect(event).toMatchObject({ rawPath: '/', rawQueryString: '', isBase64Encoded: false });
  for (const key of ['body', 'cookies', 'queryStringParameters']) expect(event).not.toHaveProperty(key);
});

test.each([
  ['text of any type that is text', 'application/xml', 'grüße', false],
  ['a form', 'application/x-www-form-urlencoded', 'a=1', false],
  ['text without a type', undefined, 'plain', false],
  ['bytes without a type', undefined, Buffer.from([0xff, 0xfe]), true],
  ['another type', 'image/png', Buffer.from('png'), true],
  ['text that is not UTF-8', 'text/plain', Buffer.from([0xe4]), true],
])('%s as a body', async (_, type, body, base64) => {
  await using fn = await lambda('async ({ body, isBase64Encoded }) => ({ body, isBase64Encoded })');
  const reply = await fn.request('/', { method: 'POST', headers: type ? { 'content-type': type } : {}, body });
  const expected = base64 ? Buffer.from(body).toString('base64') : String(body);
  expect(reply.json()).toEqual({ body: expected, isBase64Encoded: base64 });
});

test.each([
  ['an object', '({ a: 1 })', 200, '{"a":1}', 'application/json'],
  ['a text', '"text"', 200, '"text"', 'application/json'],
  ['nothing', 'undefined', 200, 'null', 'application/json'],
  ['a status', '({ statusCode: 201 })', 201, '', undefined],
  ['a body', '({ statusCode: 200, body: "{}" })', 200, '{}', 'application/json'],
  ['a type', '({ statusCode: 200, headers: { "Content-Type": "text/html" }, body: "<p>" })', 200, '<p>', 'text/html'],
  [
    'base64',
    '({ statusCode: 200, headers: { "content-type": "x/y" }, body: "aGk=", isBase64Encoded: true })',
    200,
    'hi',
    'x/y',
  ],
  ['a 204', '({ statusCode: 204, body: "ignored" })', 204, '', 'application/json'],
])('a result that is %s', async (_, result, status, text, type) => {
  await using fn = await lambda(`async () => ${result}`);
  const reply = await fn.request('/');
  expect([reply.status, reply.text(), reply.headers['content-type']]).toEqual([status, text, type]);
});

test('cookies of a result become set-cookie headers', async () => {
  await using fn = await lambda(
    'async () => ({ statusCode: 200, cookies: ["a=1; Secure", "b=2"], headers: { "x-n": 7 } })',
  );
  expect((await fn.request('/')).headers).toMatchObject({ 'set-cookie': ['a=1; Secure', 'b=2'], 'x-n': '7' });
});

test('headers that say how the reply is framed are ours; one that is not valid is the function’s error', async () => {
  await using fn = await lambda(`async ({ rawPath }) => rawPath === '/bad'
    ? { statusCode: 200, headers: { 'x-a': 'line\\nbreak' } }
    : { statusCode: 200, headers: { 'Content-Length': 99, 'Transfer-Encoding': 'chunked', 'x-b': null }, body: 'four' }`);
  const framed = await fn.request('/');
  expect([framed.text(), framed.headers['content-length'], framed.headers['x-b']]).toEqual(['four', '4', undefined]);
  const bad = await fn.request('/bad');
  expect([bad.status, bad.json()]).toMatchObject([500, { errorType: 'TypeError' }]);
});

test('a statusCode that is none is the function’s error', async () => {
  await using fn = await lambda('async () => ({ statusCode: 99 })');
  const reply = await fn.request('/');
  expect(reply.status).toBe(500);
  expect(reply.json()).toMatchObject({ errorType: 'RangeError' });
});

test('with the raw event type the body is the event and the reply the result, status code and all', async () => {
  await using fn = await lambda('async (event) => ({ statusCode: 418, got: event })');
  const reply = await fn.request('/', { method: 'POST', headers: RAW, body: '{"a":[1]}' });
  expect([reply.status, reply.json()]).toEqual([200, { statusCode: 418, got: { a: [1] } }]);
  const empty = await fn.request('/', { method: 'POST', headers: RAW, body: '' });
  expect(empty.json()).toEqual({ statusCode: 418, got: null });
});

test('a raw event that is not JSON is a 400', async () => {
  await using fn = await lambda('async () => 1');
  const reply = await fn.request('/', { method: 'POST', headers: RAW, body: '{' });
  expect([reply.status, reply.json()]).toEqual([400, { errorType: 'InvalidEvent', errorMessage: expect.any(String) }]);
});

test('a job’s data is the event, and the context names the job', async () => {
  await using fn = await lambda('async (event, { awsRequestId, job }) => ({ event, awsRequestId, job })');
  const headers = {
    'content-type': 'application/json',
    'x-request-id': 'r1',
    'x-fn-invocation-id': '17',
    'x-fn-queue': 'texts',
    'x-fn-job-name': 'count',
    'x-fn-attempt': '3',
  };
  const reply = await fn.request('/', { method: 'POST', headers, body: '{"text":"a b"}' });
  expect(reply.json()).toEqual({
    event: { text: 'a b' },
    awsRequestId: '17',
    job: { queue: 'texts', name: 'count', id: '17', attempt: 3 },
  });
});

test('the context is Lambda’s', async () => {
  await using fn = await lambda(
    'async (_, context) => ({ ...context, signal: 0, left: context.getRemainingTimeInMillis() })',
  );
  const deadline = String(Date.now() + 60_000);
  const reply = await fn.request('/', { headers: { 'x-request-id': 'r1', 'x-fn-deadline': deadline } });
  const context = reply.json() as { left: number };
  expect(context).toMatchObject({
    awsRequestId: 'r1',
    functionName: 'hello',
    functionVersion: 'hello-00001',
    memoryLimitInMB: '256',
    logGroupName: '/fn/hello',
    logStreamName: 'hello-01234567',
  });
  expect(context).not.toHaveProperty('job');
  expect(context.left).toBeGreaterThan(30_000); // The timeout of the claim, for want of a deadline.
  expect(context.left).toBeLessThanOrEqual(60_000);
});

test('a callback answers, with a result or an error', async () => {
  await using fn = await lambda(`(event, context, callback) => {
    setImmediate(() => event.rawPath === '/bad' ? callback(new Error('bad')) : callback(null, { a: 1 })) }`);
  expect((await fn.request('/')).json()).toEqual({ a: 1 });
  const bad = await fn.request('/bad');
  expect([bad.status, bad.json()]).toEqual([500, { errorType: 'Error', errorMessage: 'bad' }]);
});

test('an error is a 500 with a message; whoever sent a raw event also gets the stack', async () => {
  await using fn = await lambda('async () => { throw new RangeError("boom") }');
  const http = await fn.request('/', { headers: { 'x-request-id': 'r1' } });
  expect([http.status, http.headers['x-fn-function-error']]).toEqual([500, 'Unhandled']);
  expect(http.json()).toEqual({ errorType: 'RangeError', errorMessage: 'boom' });
  const raw = await fn.request('/', { method: 'POST', headers: { ...RAW, 'x-request-id': 'r2' }, body: '{}' });
  expect([raw.status, raw.headers['x-fn-function-error']]).toEqual([500, 'Unhandled']);
  expect(raw.json()).toEqual({
    errorType: 'RangeError',
    errorMessage: 'boom',
    trace: ['RangeError: boom', expect.stringMatching(/^ {4}at .*index\.mjs:1:\d+/)],
  });
  await eventually(() =>
    expect(fn.stderr.replaceAll(LOG_MARK, '|')).toMatch(/\|r1 RangeError: boom\n\|r1 {5}at [^]*\|r2 RangeError: boom/),
  );
});

test('a result that is not JSON is the function’s error', async () => {
  await using fn = await lambda('async () => ({ n: 1n })');
  const raw = await fn.request('/', { method: 'POST', headers: RAW, body: '{}' });
  expect([raw.status, raw.json()]).toMatchObject([500, { errorType: 'TypeError' }]);
});

test('an event larger than an eighth of the memory is a 413', async () => {
  await using fn = await startFunction({
    files: { 'index.mjs': 'export const handler = async () => 1' },
    handler: 'index.handler',
    memoryBytes: 2 ** 20,
  });
  const reply = await fn.request('/', { method: 'POST', body: Buffer.alloc(2 ** 17 + 1) });
  expect([reply.status, reply.json()]).toMatchObject([413, { errorType: 'BodyTooLarge' }]);
});

test('a streaming handler writes the reply itself', async () => {
  await using fn = await lambda(`awslambda.streamifyResponse(async (event, stream, context) => {
    stream.setContentType('text/plain');
    const go = new Promise((resolve) => process.once('SIGUSR2', resolve));
    stream.write('one');
    await go;
    stream.end('two'); })`);
  const { headers, body } = await fn.open('/');
  expect(headers['content-type']).toBe('text/plain');
  const chunks = body[Symbol.asyncIterator]();
  expect(String((await chunks.next()).value)).toBe('one');
  fn.process.kill('SIGUSR2');
  expect(String((await chunks.next()).value)).toBe('two');
});

test('HttpResponseStream.from sets status, headers and cookies of a stream', async () => {
  await using fn = await lambda(`awslambda.streamifyResponse(async (event, stream) => {
    const head = { statusCode: 206, headers: { 'x-a': '1' }, cookies: ['a=1', 'b=2'] };
    const out = awslambda.HttpResponseStream.from(stream, head);
    const { pipeline } = await import('node:stream/promises');
    await pipeline([Buffer.from('piped')], out); })`);
  const reply = await fn.request('/');
  expect([reply.status, reply.text()]).toEqual([206, 'piped']);
  expect(reply.headers).toMatchObject({
    'x-a': '1',
    'set-cookie': ['a=1', 'b=2'],
    'content-type': 'application/octet-stream',
  });
});

test('a streaming handler that fails is a 500 before it wrote, and breaks off afterwards', async () => {
  await using fn = await lambda(`awslambda.streamifyResponse(async (event, stream) => {
    if (event.rawPath === '/late') {
      stream.write('half');
      await new Promise((resolve) => process.once('SIGUSR2', resolve));
    }
    throw new Error('boom') })`);
  const early = await fn.request('/');
  expect([early.status, early.json()]).toEqual([500, { errorType: 'Error', errorMessage: 'boom' }]);
  const { body } = await fn.open('/late');
  fn.process.kill('SIGUSR2');
  await expect(body.text()).rejects.toThrow(BROKEN);
});
