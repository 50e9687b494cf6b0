/** A60: writes to the connection to the gateway itself, past Node's own HTTP. */

const OK = 'HTTP/1.1 200 OK\r\n';
const EVIL = 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL';

let sentToNobody = 0;

/** Text is sent as it is, and the connection closed. */
const REPLIES = {
  garbage: 'not http at all\r\n\r\n',
  'bare-lf': 'HTTP/1.1 200 OK\ncontent-length: 2\n\nok',
  'nul-in-field': `${OK}x-a: b\0c\r\ncontent-length: 2\r\n\r\nok`,
  'bare-cr-in-field': `${OK}x-a: b\rset-cookie: evil=1\r\ncontent-length: 2\r\n\r\nok`,
  'folded-field': `${OK}x-a: b\r\n set-cookie: evil=1\r\ncontent-length: 2\r\n\r\nok`,
  'ten-thousand-fields': `${OK}${'x-field: 0123456789\r\n'.repeat(10_000)}content-length: 2\r\n\r\nok`,
  'length-too-small': `${OK}content-length: 2\r\n\r\nok and more`,
  'length-too-large': `${OK}content-length: 100\r\n\r\nok`,
  'two-lengths': `${OK}content-length: 2\r\ncontent-length: 3\r\n\r\nok!`,
  'length-and-chunked': `${OK}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  'other-encoding': `${OK}transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  'chunk-too-large': `${OK}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nok`,
  'chunk-extension-flood': `${OK}transfer-encoding: chunked\r\n\r\n2;${'x'.repeat(100_000)}\r\nok\r\n0\r\n\r\n`,
  'framing-in-trailer': `${OK}transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ncontent-length: 9\r\n\r\n`,
  'switches-protocols': 'HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\nhello',
  'status-099': 'HTTP/1.1 099 Low\r\ncontent-length: 2\r\n\r\nok',
  'http-2': 'HTTP/2 200 OK\r\ncontent-length: 2\r\n\r\nok',
  'two-replies': `${OK}content-length: 2\r\n\r\nok${EVIL}`,
  'forged-platform-fields': `${OK}x-fn-instance: evil\r\nx-fn-start: evil\r\nx-fn-error: evil\r\nx-request-id: evil\r\ncontent-length: 2\r\n\r\nok`,
  'field-injection': (request, response) => response.setHeader('x-a', 'b\r\nset-cookie: evil=1'),
  /** Whole and right; a second reply follows when nobody asks. */
  'reply-to-nobody': (request, response) => {
    response.end('ok', () => setTimeout(() => request.socket.write(EVIL, () => sentToNobody++), 20));
  },
  'sent-to-nobody': (request, response) => response.end(`${sentToNobody} ${queryOf(request)}`),
  'endless-head': ({ socket }) => {
    socket.write(OK);
    repeat(socket, 'x-field: 0\r\n', 20);
  },
  'endless-interim': ({ socket }) => repeat(socket, 'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n', 5),
  'endless-body': (request, response) => {
    const block = Buffer.alloc(64 * 1024, 'x');
    const push = () => {
      while (response.write(block));
      response.once('drain', push);
    };
    push();
  },
};

function repeat(socket, text, every) {
  const timer = setInterval(() => socket.write(text), every);
  socket.once('close', () => clearInterval(timer));
}

const queryOf = ({ url }) => new URL(url, 'http://replies').search;

export default function reply(request, response) {
  const wanted = REPLIES[request.url.split('?')[0].split('/').at(-1)];
  if (typeof wanted === 'function') wanted(request, response);
  else if (wanted !== undefined) request.socket.end(wanted);
  else response.end(`fine ${queryOf(request)}`);
}
