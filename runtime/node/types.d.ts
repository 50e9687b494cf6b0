/** Types for functions, and for the bootstrap's own modules. A TypeScript function imports them as types only, so nothing
 *  of this reaches the running code. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Writable } from 'node:stream';

/** `export default (request) => new Response('…')`, or `export default { fetch }`. */
export type WebHandler = (request: Request) => Response | Promise<Response>;

/** `export default (request, response) => { … }`. */
export type NodeHandler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/** `export const handler = async (event, context) => result`: the AWS Lambda signature. */
export type Handler<Event = unknown, Result = unknown> = (event: Event, context: Context) => Result | Promise<Result>;

/** `export const handler = (event, context, callback) => { … }`. */
export type CallbackHandler<Event = unknown, Result = unknown> = (
  event: Event,
  context: Context,
  callback: (error?: Error | string | null, result?: Result) => void,
) => void;

/** `awslambda.streamifyResponse(async (event, stream, context) => { … })`. The handler ends the stream. */
export type StreamingHandler<Event = unknown> = (
  event: Event,
  stream: ResponseStream,
  context: Context,
) => void | Promise<void>;

export type ResponseStream = Writable & { setContentType(type: string): void };

export interface Context {
  /** The invocation's id: the job's id for a job, else the request id. */
  readonly awsRequestId: string;
  readonly functionName: string;
  /** The revision. */
  readonly functionVersion: string;
  readonly invokedFunctionArn: string;
  readonly memoryLimitInMB: string;
  readonly logGroupName: string;
  /** The instance. */
  readonly logStreamName: string;
  callbackWaitsForEmptyEventLoop: boolean;
  /** Time until the invocation is killed. */
  getRemainingTimeInMillis(): number;
  /** Aborted when the caller is gone: nobody will read the result. */
  readonly signal: AbortSignal;
  /** Set when the event is a job of a queue. */
  readonly job?: {
    readonly queue: string;
    readonly name: string;
    readonly id: string;
    /** 1 for the first. */
    readonly attempt: number;
  };
}

/** A request as an event, in the function URL format 2.0 of AWS Lambda. */
export interface FunctionUrlEvent {
  readonly version: '2.0';
  readonly routeKey: string;
  /** As the client sent it, percent-encoding included. */
  readonly rawPath: string;
  readonly rawQueryString: string;
  readonly cookies?: readonly string[];
  /** Names in lower case, repeated headers joined by commas. */
  readonly headers: Readonly<Record<string, string>>;
  readonly queryStringParameters?: Readonly<Record<string, string>>;
  readonly requestContext: {
    readonly accountId: string;
    readonly apiId: string;
    readonly domainName: string;
    readonly domainPrefix: string;
    readonly http: {
      readonly method: string;
      readonly path: string;
      readonly protocol: string;
      readonly sourceIp: string;
      readonly userAgent: string;
    };
    readonly requestId: string;
    readonly routeKey: string;
    readonly stage: string;
    readonly time: string;
    readonly timeEpoch: number;
  };
  readonly body?: string;
  readonly isBase64Encoded: boolean;
}

/** A result that is a whole reply. Anything without `statusCode` is sent as the JSON body of a 200. */
export interface FunctionUrlReply {
  readonly statusCode?: number | string;
  readonly headers?: Readonly<Record<string, string | number | boolean>>;
  readonly body?: unknown;
  readonly cookies?: readonly string[];
  readonly isBase64Encoded?: boolean;
}

// Below: between the bootstrap's modules.

declare global {
  /** What boot.mjs hands to the packed bootstrap. */
  const compiledCode: { readonly isUsed: boolean; readonly make: () => Buffer } | undefined;
}

/** What the platform posts to make a generic sandbox an instance of a function. */
export interface Claim {
  readonly function: string;
  readonly revision: string;
  readonly instance: string;
  readonly handler: string;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly memoryBytes: number;
}

/** Answers one request whatever happens. */
export type Serve = (request: IncomingMessage, response: ServerResponse) => void;
/** Answers one request, or throws or rejects. */
export type Handle = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>;

/** Called with a callback always; handlers with fewer parameters ignore it. */
export type EventHandler = (
  event: unknown,
  context: Context,
  callback: (error?: Error | string | null, result?: unknown) => void,
) => unknown;

/** What a module exports, and which shape it has. */
export type FoundHandler =
  | { readonly shape: 'web'; readonly call: WebHandler }
  | { readonly shape: 'node'; readonly call: Handle }
  | { readonly shape: 'event'; readonly call: EventHandler };

/** What answers requests from now on. */
export interface LoadedHandler {
  readonly shape: FoundHandler['shape'];
  readonly handle: Handle;
}

export interface ErrorDescription {
  readonly name: string;
  readonly message: string;
  readonly stack: string;
  readonly kind: 'missing' | 'load';
}
