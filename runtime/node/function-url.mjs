/** The function URL format 2.0 of AWS Lambda: an HTTP request as an event, a result as an HTTP reply. */

/** @import { IncomingMessage, ServerResponse } from 'node:http' */
/** @import { Claim, FunctionUrlEvent, FunctionUrlReply } from './types.d.ts' */

const { isUtf8 } = process.getBuiltinModule('node:buffer');

const JSON_TYPE = ['content-type', 'application/json'];
/** What says how a reply is framed, which is our part. */
const OURS = new Set(['connection', 'content-length', 'keep-alive', 'transfer-encoding', 'upgrade']);
const TEXT_TYPE = /^(text\/|application\/(.+\+)?(json|xml)\b|application\/(javascript|x-www-form-urlencoded)\b)/i;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** @param {IncomingMessage} request @param {Buffer} body @param {Claim} claim @returns {FunctionUrlEvent} */
export function functionUrlEvent(request, body, claim) {
  const { headers, cookies } = headersOf(request.rawHeaders);
  const url = request.url ?? '/';
  const question = url.indexOf('?');
  const rawPath = question < 0 ? url : url.slice(0, question);
  const rawQueryString = question < 0 ? '' : url.slice(question + 1);
  const query = queryOf(rawQueryString);
  const now = new Date();
  const isText =
    isUtf8(body) && headers['content-encoding'] === undefined && TEXT_TYPE.test(headers['content-type'] ?? 'text/');
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString,
    ...(cookies.length > 0 && { cookies }),
    headers,
    ...(query && { queryStringParameters: query }),
    requestContext: {
      accountId: 'anonymous',
      apiId: claim.function,
      domainName: (headers['host'] ?? '').replace(/:\d+$/, ''),
      domainPrefix: claim.function,
      http: {
        method: request.method ?? 'GET',
        path: rawPath,
        protocol: `HTTP/${request.httpVersion}`,
        // The last address is the one the gateway saw itself; those before it are the client's claim.
        sourceIp: headers['x-forwarded-for']?.split(',').at(-1)?.trim() ?? '',
        userAgent: headers['user-agent'] ?? '',
      },
      requestId: headers['x-request-id'] ?? '',
      routeKey: '$default',
      stage: '$default',
      time: clfTime(now),
      timeEpoch: now.getTime(),
    },
    ...(body.length > 0 && { body: body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: body.length > 0 && !isText,
  };
}

/** Names in lower case, repeated ones joined by commas, cookies apart.
 *  @param {string[]} raw */
function headersOf(raw) {
  /** @type {Record<string, string>} */
  const headers = {};
  /** @type {string[]} */
  const cookies = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase();
    const value = raw[at + 1] ?? '';
    const before = headers[name];
    if (name === 'cookie') cookies.push(...value.split('; '));
    else headers[name] = before === undefined ? value : `${before},${value}`;
  }
  return { headers, cookies };
}

/** @param {string} text @returns {Record<string, string> | undefined} */
function queryOf(text) {
  if (text === '') return undefined;
  /** @type {Record<string, string>} */
  const query = {};
  for (const [name, value] of new URLSearchParams(text)) {
    const before = query[name];
    query[name] = before === undefined ? value : `${before},${value}`;
  }
  return query;
}

/** `12/Mar/2020:19:03:58 +0000`. @param {Date} time */
function clfTime(time) {
  const iso = time.toISOString();
  return `${iso.slice(8, 10)}/${MONTHS[time.getUTCMonth()]}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000`;
}

/** A result with a statusCode is a reply; anything else is the JSON body of a 200.
 *  @param {ServerResponse} response @param {IncomingMessage} request @param {FunctionUrlReply | undefined} result */
export function sendFunctionUrlReply(response, request, result) {
  if (result?.statusCode === undefined) {
    finish(response, request, 200, [...JSON_TYPE], JSON.stringify(result ?? null));
    return;
  }
  const { headers = {}, cookies = [], body = '', isBase64Encoded = false } = result;
  const status = Number(result.statusCode);
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new RangeError(`statusCode must be from 200 to 599, not ${result.statusCode}`);
  }
  const raw = cookies.flatMap((cookie) => ['set-cookie', cookie]);
  let typed = body === '';
  for (const [name, value] of Object.entries(headers)) {
    const key = name.toLowerCase();
    if (value === undefined || value === null || OURS.has(key)) continue;
    raw.push(name, String(value));
    typed ||= key === 'content-type';
  }
  if (!typed) raw.push(...JSON_TYPE);
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  finish(response, request, status, raw, isBase64Encoded ? Buffer.from(text, 'base64') : text);
}

/** @param {ServerResponse} response @param {IncomingMessage} request @param {number} status @param {string[]} headers
 *  @param {string | Buffer} body a text leaves in one write with the head, bytes in two */
function finish(response, request, status, headers, body) {
  const bodiless = status === 204 || status === 304;
  if (!bodiless) headers.push('content-length', String(Buffer.byteLength(body)));
  response.writeHead(status, headers);
  response.end(bodiless || request.method === 'HEAD' ? undefined : body);
}
