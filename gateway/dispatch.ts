/** From a request's head to what answers it. The order of precedence is in routes.ts. */

import { splitCallee } from '../core/aliases.ts';
import type { Config } from '../core/config.ts';
import { type ErrorCode, FnError } from '../core/errors.ts';
import type { RevisionId } from '../core/ids.ts';
import { type AsyncQueues, submit } from './async.ts';
import type { ClientConnection } from './connection.ts';
import type { Exchange } from './exchange.ts';
import { jsonReply, type PlainReply } from './http/write.ts';
import type { RequestHead } from './http/parse-request.ts';
import { Invocation, type InvocationOwner } from './invocation.ts';
import { invocationStatus } from './invocations.ts';
import { Page, type PageHandler, Refusal } from './page.ts';
import { preflightMethod } from './policy/cors.ts';
import type { Gate } from './policy/gate.ts';
import type { Plan } from './policy/plan.ts';
import { type PathMatch, type PathRoute, pathOf, type RouteTable } from './routes.ts';

export interface DispatchOptions {
  readonly config: Pick<Config, 'asyncBodyLimit' | 'resultTtl' | 'domain'>;
  readonly routes: RouteTable;
  readonly invocations: InvocationOwner;
  readonly gate: Gate;
  /** Absent without Redis: then nothing asynchronous is accepted. */
  readonly queues: AsyncQueues | undefined;
  // Of the whole gateway, whichever of its threads is asked.
  readonly metricsText: () => Promise<string>;
  readonly revisionsOf: (name: string) => Promise<readonly RevisionId[]>;
}

interface FoundPage {
  /** Bytes of body. */
  readonly limit: number;
  readonly handler: PageHandler;
  /** What it is about to call. */
  readonly callee?: string;
}

const FUNCTION = '/function/';
const ASYNC = '/async/';
const INVOCATIONS = '/invocations/';

export class Dispatcher {
  readonly #options: DispatchOptions;
  /** `.<domain>`, or empty when hosts route nowhere. */
  readonly #hostSuffix: string;

  constructor(options: DispatchOptions) {
    this.#options = options;
    this.#hostSuffix = options.config.domain === '' ? '' : `.${options.config.domain.toLowerCase()}`;
  }

  open(client: ClientConnection, head: RequestHead, requestId: string): Exchange {
    try {
      return this.#open(client, head, requestId);
    } catch (error) {
      if (!(error instanceof FnError)) throw error;
      this.#options.invocations.failed(error);
      return new Refusal(client, error);
    }
  }

  #open(client: ClientConnection, head: RequestHead, requestId: string): Exchange {
    const { target, method } = head;
    const { routes, invocations, gate } = this.#options;
    if (method === 'TRACE' || method === 'CONNECT') throw refuseMethod(method, []);
    const { trusted } = client;
    const invoke = (callee: string, rest: string, plan: Plan | undefined): Exchange => {
      if (plan === undefined || trusted) return new Invocation(invocations, client, head, requestId, callee, rest);
      const open = (passed: RequestHead): Exchange =>
        new Invocation(invocations, client, passed, requestId, callee, rest);
      return gate.admit({ client, head, requestId, name: splitCallee(callee).name, plan, open });
    };

    if (method === 'OPTIONS' && !trusted) {
      const preflight = this.#preflight(client, head, requestId);
      if (preflight) return preflight;
    }
    const ofName = this.#calleeOfHost(head.host);
    if (ofName !== undefined) return invoke(ofName, target, routes.get(ofName)?.plans.own);
    const ofHost = served(routes.matchHost(head.host, method, target), method);
    if (ofHost) return invoke(ofHost.route.name, target, ofHost.plan);
    if (target.startsWith(FUNCTION)) {
      const end = endOfName(target, FUNCTION.length);
      const callee = target.substring(FUNCTION.length, end);
      return invoke(callee, restOf(target, end), routes.get(callee)?.plans.own);
    }
    const path = pathOf(target);
    const page = this.#page(client, method, path, target);
    if (page) {
      const failed = (error: FnError): void => invocations.failed(error);
      const open = (passed: RequestHead): Page => new Page(client, passed, requestId, page.limit, page.handler, failed);
      const { callee } = page;
      const plan = callee === undefined || trusted ? undefined : routes.get(callee)?.plans.own;
      if (callee === undefined || plan === undefined) return open(head);
      return gate.admit({ client, head, requestId, name: splitCallee(callee).name, plan, open });
    }
    const match = served(routes.match(method, path), method);
    if (match) return invoke(match.route.name, target, match.plan);
    throw new FnError('route.not_found', `there is no route for ${path.slice(0, 200)}`);
  }

  /** Answers for a function that says which pages may call it; the others answer themselves. */
  #preflight(client: ClientConnection, head: RequestHead, requestId: string): Exchange | undefined {
    const method = preflightMethod(head.method, head.fields);
    if (method === undefined) return undefined;
    const { routes, gate } = this.#options;
    const { target } = head;
    const ofName = this.#calleeOfHost(head.host);
    const ofHost = ofName === undefined ? routes.matchHost(head.host, method, target) : undefined;
    const prefix = ofHost ? undefined : [FUNCTION, ASYNC].find((start) => target.startsWith(start));
    const callee = ofName ?? (prefix && target.substring(prefix.length, endOfName(target, prefix.length)));
    const match = callee === undefined ? (ofHost ?? routes.match(method, pathOf(target))) : undefined;
    const route = callee === undefined ? match && 'route' in match && match.route : routes.get(callee);
    const plan = match && 'plan' in match ? match.plan : route ? route.plans.own : undefined;
    if (!route || !plan?.cors) return undefined;
    return gate.preflight({ client, head, requestId, name: route.name, plan }, plan.cors);
  }

  /** The callee a Host names, whether or not there is one: `hello.<domain>` or `live.hello.<domain>`. Its host serves
   *  nothing else. */
  #calleeOfHost(host: string): string | undefined {
    const suffix = this.#hostSuffix;
    if (suffix === '' || host.length <= suffix.length) return undefined;
    const colon = host.indexOf(':');
    const end = (colon < 0 ? host.length : colon) - suffix.length;
    if (end < 1 || host.substring(end, end + suffix.length).toLowerCase() !== suffix) return undefined;
    const label = host.substring(0, end).toLowerCase();
    const dot = label.indexOf('.');
    return dot < 0 ? label : `${label.slice(dot + 1)}@${label.slice(0, dot)}`;
  }

  #page(client: ClientConnection, method: string, path: string, target: string): FoundPage | undefined {
    const { queues, config, invocations, metricsText, revisionsOf } = this.#options;
    if (path.startsWith(ASYNC)) {
      if (method !== 'POST') throw refuseMethod(method, ['POST']);
      const end = endOfName(target, ASYNC.length);
      const callee = target.substring(ASYNC.length, end);
      invocations.groupFor(callee, ''); // Throws unless there is such a function, ready to be called.
      if (!queues) throw new FnError('redis.unavailable', 'this gateway has no Redis');
      const rest = restOf(target, end);
      return {
        callee,
        limit: config.asyncBodyLimit,
        handler: (request) => submit(queues, config, callee, rest, request),
      };
    }
    const read = (handler: PageHandler): FoundPage => {
      if (method !== 'GET' && method !== 'HEAD') throw refuseMethod(method, ['GET', 'HEAD']);
      return { limit: PAGE_BODY_MAX, handler };
    };
    if (path.startsWith(INVOCATIONS)) {
      if (!queues) throw new FnError('redis.unavailable', 'this gateway has no Redis');
      return read(async () => jsonReply(200, await invocationStatus(queues, path.slice(INVOCATIONS.length))));
    }
    switch (path) {
      case '/healthz':
        return read(() => jsonReply(200, { status: 'ok' }));
      case '/':
        return read(welcome);
      case '/_fn/metrics':
        if (!client.trusted) return undefined;
        return read(async () => ({ status: 200, type: 'text/plain; version=0.0.4', body: await metricsText() }));
      default:
        if (!client.trusted || !path.startsWith(ROUTES)) return undefined;
        return read(async () => jsonReply(200, { revisions: await revisionsOf(path.slice(ROUTES.length)) }));
    }
  }
}

/** Where requests for a function go, for who has just changed it. */
const ROUTES = '/_fn/routes/';
/** A body nobody asked for, read and ignored. */
const PAGE_BODY_MAX = 64 * 1024;

function welcome(): PlainReply {
  const body = 'This is the gateway of fn.\nFunctions are at /function/<name>; POST /async/<name> queues a call.\n';
  return { status: 200, type: 'text/plain; charset=utf-8', body };
}

/** @throws FnError when the path is served, but not with this method. */
function served(match: PathMatch, method: string): PathRoute | undefined {
  if (match && 'allow' in match) throw refuseMethod(method, match.allow);
  return match;
}

function refuseMethod(method: string, allow: readonly string[]): FnError {
  const code: ErrorCode = 'request.method_refused';
  return new FnError(code, `${method} is not served here`, { data: { allow } });
}

function endOfName(target: string, from: number): number {
  for (let at = from; at < target.length; at++) {
    const code = target.charCodeAt(at);
    if (code === 47 || code === 63) return at;
  }
  return target.length;
}

/** What follows the name: path and query, at least "/". */
function restOf(target: string, end: number): string {
  if (end === target.length) return '/';
  return target.charCodeAt(end) === 63 ? `/${target.slice(end)}` : target.slice(end);
}
