import { expect, test } from 'vitest';
import { startFunction, BROKEN } from '../support/bootstrap.ts';

/** An instance of `export default <arrow function of (req, res)>`. */
const listener = (source: string) => startFunction({ files: { 'index.mjs': `export default ${source}` } });

test('a default export with two parameters is a node listener: it gets node’s own request and response', async () => {
  await using fn = await listener(`async (req, res) => {
    let body = ''; for await (const chunk of req) body += chunk;
    res.writeHead(201, { 'set-cookie': ['a=1', 'b=2'] }).end(req.method + ' ' + req.url + ' ' + body) }`);
  const reply = await fn.request('/a?b', { method: 'POST', body: 'c' });
  expect([reply.status, reply.text(), reply.headers['set-cookie']]).toEqual([201, 'POST /a?b c', ['a=1', 'b=2']]);
});

test('three parameters are a listener too, as frameworks have them', async () => {
  await using fn = await listener('function app(req, res, next) { res.end("app") }');
  expect((await fn.request('/')).text()).toBe('app');
});

test.each(['(req, res) => { throw new Error("boom") }', 'async (req, res) => { throw new Error("boom") }'])(
  '%s is a 500, and the instance lives on',
  async (source) => {
    await using fn = await listener(source);
    for (let call = 0; call < 2; call++) {
      const reply = await fn.request('/');
      expect([reply.status, reply.json()]).toEqual([500, { errorType: 'Error', errorMessage: 'boom' }]);
    }
  },
);

test('a listener that fails after it began to reply breaks the reply off', async () => {
  await using fn = await listener(`async (req, res) => {
    if (req.url === '/ok') return res.end('ok');
    res.write('half'); await new Promise((resolve) => process.once('SIGUSR2', resolve)); throw new Error('boom') }`);
  const { body } = await fn.open('/');
  fn.process.kill('SIGUSR2');
  await expect(body.text()).rejects.toThrow(BROKEN);
  expect((await fn.request('/ok')).text()).toBe('ok');
});
