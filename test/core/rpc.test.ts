import { once } from 'node:events';
import { createServer, createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FnError } from '../../core/errors.ts';
import { type Handlers, RpcPeer } from '../../core/rpc.ts';
import { testDirectory } from '../support/directory.ts';
import { eventually } from '../support/eventually.ts';
import { rejectionOf } from '../support/thrown.ts';

interface Calls {
  double: { in: { value: number }; out: { value: number } };
  fail: { in: { code: 'function.oom' }; out: never };
  crash: { in: Record<string, never>; out: never };
  never: { in: Record<string, never>; out: never };
}
interface CallsBack {
  shout: { in: { text: string }; out: { text: string } };
}

const HANDLERS: Handlers<Calls> = {
  double: ({ value }) => ({ value: value * 2 }),
  fail: ({ code }) => {
    throw new FnError(code, 'too much', { hint: 'less', logs: ['last words'] });
  },
  crash: () => {
    throw new TypeError('x is not a function');
  },
  never: () => new Promise<never>(() => {}),
};

interface Pair extends AsyncDisposable {
  readonly caller: RpcPeer<Calls, CallsBack>;
  readonly answerer: RpcPeer<CallsBack, Calls>;
  /** The caller's end of the wire. */
  readonly wire: Socket;
}

async function connect(): Promise<Pair> {
  const directory = await testDirectory();
  const server = createServer().listen(join(directory.path, 's.sock'));
  await once(server, 'listening');
  const wire = createConnection(join(directory.path, 's.sock'));
  const [accepted] = (await once(server, 'connection')) as [Socket];
  const caller = new RpcPeer<Calls, CallsBack>(wire, { shout: ({ text }) => ({ text: text.toUpperCase() }) });
  const answerer = new RpcPeer<CallsBack, Calls>(accepted, HANDLERS);
  return {
    caller,
    answerer,
    wire,
    async [Symbol.asyncDispose]() {
      caller.close();
      answerer.close();
      server.close();
      await directory[Symbol.asyncDispose]();
    },
  };
}

test('a call gets its answer', async () => {
  await using pair = await connect();
  expect(await pair.caller.call('double', { value: 21 }, 5000)).toEqual({ value: 42 });
});

test('either side may call', async () => {
  await using pair = await connect();
  expect(await pair.answerer.call('shout', { text: 'hello' }, 5000)).toEqual({ text: 'HELLO' });
});

test('text that a function wrote cannot end a message, nor be one', async () => {
  await using pair = await connect();
  const text = 'before\u2028null\u2028{}\u2029 after';
  expect(await pair.answerer.call('shout', { text }, 1000)).toEqual({ text: text.toUpperCase() });
});

test.each(['null', '1', 'no json'])('whoever sends %s is cut off', async (line) => {
  await using pair = await connect();
  pair.wire.write(`${line}\n`);
  await pair.answerer.closed;
});

test('many calls at once each get their own answer', async () => {
  await using pair = await connect();
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, value) => pair.caller.call('double', { value }, 5000)),
  );
  expect(answers.map(({ value }) => value)).toEqual(Array.from({ length: 200 }, (_, value) => value * 2));
});

test('an error of the catalogue arrives as itself', async () => {
  await using pair = await connect();
  const error = await rejectionOf(pair.caller.call('fail', { code: 'function.oom' }, 5000));
  expect(error).toMatchObject({ code: 'function.oom', message: 'too much', hint: 'less' });
  expect(error.options.logs).toEqual(['last words']);
});

test('any other error arrives as internal, and the connection lives on', async () => {
  await using pair = await connect();
  const error = await rejectionOf(pair.caller.call('crash', {}, 5000));
  expect(error).toMatchObject({ code: 'internal', message: 'x is not a function' });
  expect(await pair.caller.call('double', { value: 1 }, 5000)).toEqual({ value: 2 });
});

test('a call that nobody knows is an error, also one that every object has', async () => {
  await using pair = await connect();
  for (const name of ['unknown', 'toString', '__proto__'] as never[]) {
    expect(await rejectionOf(pair.caller.call(name, {} as never, 5000))).toMatchObject({ code: 'internal' });
  }
});

test('a call that is not answered in time fails', async () => {
  await using pair = await connect();
  const error = await rejectionOf(pair.caller.call('never', {}, 20));
  expect(error).toMatchObject({
    code: 'process.down',
    message: 'no answer to never within 20 ms from the other side of the control socket',
  });
});

test('when the other side goes away every waiting call fails at once, and every later one', async () => {
  await using pair = await connect();
  const waiting = rejectionOf(pair.caller.call('never', {}, 60_000));
  pair.answerer.close();
  expect(await waiting).toMatchObject({ code: 'process.down' });
  await pair.caller.closed;
  expect(await rejectionOf(pair.caller.call('double', { value: 1 }, 60_000))).toMatchObject({ code: 'process.down' });
});

test.each([
  ['what is not JSON', Buffer.from('hello\n')],
  ['a line without an end', Buffer.alloc(2 ** 20 + 10, 'x')],
])('%s ends the connection', async (_, bytes) => {
  await using pair = await connect();
  pair.wire.write(bytes);
  await pair.answerer.closed;
  await eventually(() => expect(pair.wire.destroyed).toBe(true));
});
