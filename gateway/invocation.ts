/** One invocation over HTTP: from a matched route to the last byte of the reply. It takes a slot or waits for one, writes the
 *  request to the instance, and passes the reply on as it comes. What can go wrong on the way is decided here:
 *
 *  - nothing reached the instance: again on another one; otherwise never again;
 *  - no reply within the timeout: the instance is killed, and only then is the client told;
 *  - the connection broke: the worker is asked how the instance ended, the client is told that, or is cut off when half a
 *    reply is out;
 *  - the client goes: the instance is told by a half-close, and its slot stays taken until it lets go. */

import type { Outcome } from '../core/account.ts';
import type { InvocationRecord } from '../core/invocation-log.ts';
import type { EndReason, StartKind } from '../core/records.ts';
import { type ErrorCode, FnError, fromProblem } from '../core/errors.ts';
import type { FunctionName } from '../core/ids.ts';
import type { Millis } from '../core/units.ts';
import { BLOCKED_BY_FUNCTION, type ClientConnection, type Exchange } from './connection.ts';
import type { Autopsy } from './control.ts';
import { Outbox } from './http/outbox.ts';
import { BadReply, type ReplyHead } from './http/parse-reply.ts';
import type { RequestHead } from './http/parse-request.ts';
import { randomHex } from './http/random-ids.ts';
import { dateField } from './http/write.ts';
import type { Group, Instance, Waiter } from './slots.ts';
import type { Baseline, Used } from './usage.ts';
import type { ReplySink, Upstream } from './upstream.ts';

/** What an invocation needs of the gateway. */
export interface InvocationOwner {
  /** Where requests for the function go now; throws FnError when there is nowhere. */
  groupFor(name: FunctionName): Group;
  /** Ends the instance; resolves when it is gone or the worker did not say so in time. */
  kill(instance: Instance, invocation: string): Promise<void>;
  /** Takes the instance out of rotation while the worker looks at it. */
  autopsy(instance: Instance): Promise<Autopsy>;
  /** `status` is 499 when the client went first. */
  finished(name: FunctionName, record: InvocationRecord): void;
  failed(error: FnError): void;
}

/** Bytes of a body held for a request that waits for an instance. */
const EARLY_MAX = 64 * 1024;
/** Instances tried for one request. */
const ATTEMPTS_MAX = 3;
/** nginx's code for a client that went before its reply. */
const CANCELLED = 499;

const OUTCOMES: Partial<Record<ErrorCode, Outcome>> = {
  'function.timeout': 'timeout',
  'function.oom': 'oom',
  'function.crashed': 'exit',
  'function.killed': 'signal',
};

type Phase = 'waiting' | 'sent' | 'replying' | 'tunnel' | 'ending' | 'over';

export class Invocation implements Exchange, Waiter, ReplySink {
  readonly #owner: InvocationOwner;
  readonly #client: ClientConnection;
  readonly #head: RequestHead;
  readonly #target: string;
  readonly #requestId: string;
  readonly #toFunction = new Outbox();
  readonly #arrivedAt: Millis;
  #group: Group;
  #phase: Phase = 'waiting';
  #instance: Instance | undefined;
  #upstream: Upstream | undefined;
  #attempts = 0;
  #bodyDone: boolean;
  #start = 'warm;ms=0';
  #startKind: StartKind = 'warm';
  #baseline: Baseline | undefined;
  #used: Used | undefined;
  #bytesIn = 0;
  #bytesOut = 0;
  /** Head and body of a reply that waits for its account. */
  #held: { readonly head: string; readonly body: Outbox } | undefined;
  /** The whole request, while it may still have to be sent again. */
  #replay: string | undefined;
  #frame: 'length' | 'chunked' | 'close' | 'none' = 'none';
  #status = 0;
  #clientBlocked = false;
  #functionBlocked = false;
  #progressAt: Millis = 0;

  /** @param target path and query for the function. */
  constructor(
    owner: InvocationOwner,
    client: ClientConnection,
    head: RequestHead,
    requestId: string,
    group: Group,
    target: string,
  ) {
    this.#owner = owner;
    this.#client = client;
    this.#head = head;
    this.#requestId = requestId;
    this.#target = target;
    this.#bodyDone = !client.bodyIncomplete;
    this.#group = group;
    this.#arrivedAt = performance.now();
    this.#group.load.arrived(this.#arrivedAt);
  }

  // From the client.

  body(buffer: Buffer, start: number, end: number): void {
    this.#bytesIn += end - start;
    if (!this.#head.chunked) this.#toFunction.bytes(buffer, start, end, false);
    else {
      this.#toFunction.text(`${(end - start).toString(16)}\r\n`);
      this.#toFunction.bytes(buffer, start, end, false);
      this.#toFunction.text('\r\n');
    }
  }

  bodyEnd(trailers: string): void {
    this.#bodyDone = true;
    if (this.#head.chunked) this.#toFunction.text(`0\r\n${trailers}\r\n`);
  }

  begin(): void {
    this.#seek(false);
  }

  bodyFlush(): void {
    if (this.#upstream && (this.#phase === 'sent' || this.#phase === 'replying')) {
      this.#replay = undefined;
      this.#write();
    } else if (this.#toFunction.size > EARLY_MAX) this.#client.block(BLOCKED_BY_FUNCTION, true);
  }

  clientDrain(): void {
    this.#progressAt = performance.now();
    if (!this.#clientBlocked) return;
    this.#clientBlocked = false;
    this.#upstream?.socket.resume();
  }

  tunnel(chunk: Buffer): void {
    this.#progressAt = performance.now();
    if (this.#upstream?.socket.write(chunk) === false) {
      this.#functionBlocked = true;
      this.#client.block(BLOCKED_BY_FUNCTION, true);
    }
  }

  cancel(): void {
    switch (this.#phase) {
      case 'waiting':
        this.#group.leave(this);
        this.#over(499);
        break;
      case 'sent':
      case 'replying':
      case 'tunnel':
        this.#abandon(499);
        break;
      case 'ending': // The client is not there to be told.
      case 'over':
        break;
    }
  }

  // From the slots.

  granted(instance: Instance, waited: boolean): void {
    const now = performance.now();
    this.#instance = instance;
    this.#phase = 'sent';
    this.#attempts++;
    this.#group.load.began();
    const thawed = instance.wake();
    if (waited || thawed) {
      const kind = thawed ? 'thawed' : instance.used ? 'warm' : instance.info.start.kind;
      this.#startKind = kind;
      this.#start = `${kind};ms=${(now - this.#arrivedAt).toFixed(1)}`;
    }
    instance.used = true;
    this.#baseline = instance.usage?.begin(now, instance.inFlight);
    const upstream = instance.pool.take(now);
    this.#upstream = upstream;
    const timeout = this.#group.revision.spec.timeout;
    upstream.begin(this, this.#head.method === 'HEAD', this.#head.webSocket);
    upstream.arm(now + timeout, now);
    this.#progressAt = now;
    if (this.#replay === undefined) this.#toFunction.prepend(this.#renderHead(Date.now() + timeout));
    else this.#toFunction.text(this.#replay);
    this.#replay = this.#bodyDone ? this.#toFunction.asText : undefined;
    this.#write();
  }

  refused(error: FnError): void {
    this.#fail(error);
  }

  moved(): void {
    try {
      this.#group = this.#owner.groupFor(this.#group.revision.function);
    } catch (error) {
      this.#fail(error as FnError);
      return;
    }
    this.#seek(true);
  }

  // From the instance.

  onInterim(head: ReplyHead): void {
    if (this.#head.http10 || (head.status === 100 && !this.#head.expectContinue)) return;
    this.#client.out.text(`HTTP/1.1 ${head.status} ${head.reason}\r\n${head.fields}\r\n`);
  }

  onReply(head: ReplyHead): void {
    this.#phase = 'replying';
    this.#replay = undefined;
    this.#status = head.status;
    const isEmpty = head.status === 204 || head.status === 304;
    let framing = '';
    if (head.status === 204) this.#frame = 'none';
    else if (head.contentLength >= 0) {
      framing = `content-length: ${head.contentLength}\r\n`;
      this.#frame = 'length';
    } else if (this.#head.http10) this.#frame = 'close';
    else if (isEmpty || (this.#head.method === 'HEAD' && !head.chunked)) this.#frame = 'none';
    else {
      framing = 'transfer-encoding: chunked\r\n';
      this.#frame = this.#head.method === 'HEAD' ? 'none' : 'chunked';
    }
    const connection = this.#frame === 'close' ? 'connection: close\r\n' : this.#client.connectionField;
    const text =
      `HTTP/1.1 ${head.status} ${head.reason}\r\n${head.fields}${framing}x-request-id: ${this.#requestId}\r\n` +
      `${this.#instance!.replyFields}x-fn-start: ${this.#start}\r\n` +
      `${head.dated ? '' : dateField(Date.now())}${connection}`;
    if (this.#head.account && this.#baseline) this.#held = { head: text, body: new Outbox() };
    else this.#client.out.text(`${text}\r\n`);
  }

  onUpgrade(head: ReplyHead): void {
    this.#phase = 'tunnel';
    this.#status = 101;
    this.#client.out.text(
      `HTTP/1.1 101 ${head.reason}\r\n${head.fields}connection: Upgrade\r\nupgrade: websocket\r\n` +
        `x-request-id: ${this.#requestId}\r\n${this.#instance!.replyFields}x-fn-start: ${this.#start}\r\n\r\n`,
    );
    this.#client.upgrade();
  }

  onPayload(buffer: Buffer, start: number, end: number): void {
    const out = this.#held?.body ?? this.#client.out;
    this.#bytesOut += end - start;
    if (this.#frame !== 'chunked' || this.#phase === 'tunnel') out.bytes(buffer, start, end, true);
    else {
      out.text(`${(end - start).toString(16)}\r\n`);
      out.bytes(buffer, start, end, true);
      out.text('\r\n');
    }
    if (this.#held && this.#held.body.size > EARLY_MAX) this.#letGo('');
  }

  onComplete(trailers: string, reusable: boolean): void {
    const now = performance.now();
    const client = this.#client;
    const wasTunnel = this.#phase === 'tunnel';
    if (this.#bodyDone && !wasTunnel) this.#measure();
    if (this.#held) this.#letGo(this.#accountField(now));
    if (this.#frame === 'chunked' && !wasTunnel) client.out.text(`0\r\n${trailers}\r\n`);
    client.flush(true);
    const upstream = this.#upstream!;
    const instance = this.#instance!;
    if (this.#clientBlocked) upstream.socket.resume();
    if (!this.#bodyDone || wasTunnel) this.#abandon(this.#status);
    else {
      this.#phase = 'over';
      this.#upstream = undefined;
      if (reusable && instance.state !== 'doomed') instance.pool.give(upstream, now, instance.concurrency);
      else upstream.destroy();
      this.#group.load.ended(now);
      this.#report(this.#status, this.#status < 500 ? 'ok' : 'error', now);
      instance.release();
    }
    client.done(wasTunnel || this.#frame === 'close');
  }

  onFlush(): void {
    if (this.#phase !== 'sent' && this.#phase !== 'replying' && this.#phase !== 'tunnel') return;
    if (!this.#client.flush(this.#phase !== 'sent')) {
      this.#clientBlocked = true;
      this.#upstream?.socket.pause();
    }
    this.#progressAt = performance.now();
  }

  onDrain(): void {
    if (!this.#functionBlocked) return;
    this.#functionBlocked = false;
    this.#progressAt = performance.now();
    this.#client.block(BLOCKED_BY_FUNCTION, false);
  }

  onBroken(error: Error, unsent: boolean): void {
    if (this.#phase !== 'sent' && this.#phase !== 'replying' && this.#phase !== 'tunnel') return;
    const instance = this.#instance!;
    this.#upstream = undefined;
    this.#measure();
    this.#client.block(BLOCKED_BY_FUNCTION, false);
    if (unsent && this.#replay !== undefined && this.#attempts < ATTEMPTS_MAX) {
      this.#retry(instance);
      return;
    }
    this.#phase = 'ending';
    void this.#explain(instance, error);
  }

  onDeadline(): void {
    const now = performance.now();
    const timeout = this.#group.revision.spec.timeout;
    if (this.#phase === 'replying' || this.#phase === 'tunnel') {
      const due = this.#progressAt + timeout;
      if (now < due) {
        this.#upstream?.arm(due, now);
        return;
      }
    }
    if (this.#clientBlocked || this.#phase === 'tunnel') {
      this.#client.socket.resetAndDestroy(); // It does not read: 'close' cancels.
    } else if (this.#phase === 'sent' && !this.#bodyDone && !this.#functionBlocked) {
      this.#abandon(408);
      this.#client.fail(new FnError('request.timeout', `the body was not complete within ${timeout} ms`));
    } else void this.#kill(timeout);
  }

  // Endings.

  #seek(waited: boolean): void {
    const instance = this.#group.take();
    if (instance) {
      this.granted(instance, waited);
      return;
    }
    const { timeout } = this.#group.revision.spec;
    this.#phase = 'waiting';
    this.#group.wait(this, Math.max(1, this.#arrivedAt + timeout - performance.now()));
  }

  #write(): void {
    if (this.#toFunction.flush(this.#upstream!.socket)) {
      if (!this.#functionBlocked) this.#client.block(BLOCKED_BY_FUNCTION, false);
      return;
    }
    this.#functionBlocked = true;
    if (!this.#bodyDone) this.#client.block(BLOCKED_BY_FUNCTION, true);
  }

  /** Not a byte got there: the instance is suspect, the request is as good as new. */
  #retry(instance: Instance): void {
    this.#instance = undefined;
    this.#functionBlocked = false;
    this.#group.load.ended(performance.now());
    void this.#owner.autopsy(instance);
    instance.release();
    this.moved();
  }

  async #explain(instance: Instance, error: Error): Promise<void> {
    const seen = await this.#owner.autopsy(instance);
    this.#group.load.ended(performance.now());
    this.#fail(whyBroken(error, seen));
    instance.release();
  }

  async #kill(timeout: Millis): Promise<void> {
    const instance = this.#instance!;
    this.#phase = 'ending';
    this.#upstream?.destroy();
    this.#upstream = undefined;
    this.#measure();
    await this.#owner.kill(instance, this.#requestId);
    this.#group.load.ended(performance.now());
    this.#fail(new FnError('function.timeout', `no reply within ${timeout} ms; the instance was stopped`));
    instance.release();
  }

  /** Lets go of the instance in the middle. Its slot is free once it has let go as well. */
  #abandon(status: number): void {
    const instance = this.#instance!;
    const group = this.#group;
    const upstream = this.#upstream!;
    this.#upstream = undefined;
    this.#measure();
    this.#over(status);
    upstream.abandon((inTime) => {
      if (!inTime) void this.#owner.kill(instance, this.#requestId);
      group.load.ended(performance.now());
      instance.release();
    });
  }

  #fail(error: FnError): void {
    this.#owner.failed(error);
    this.#over(error.status, error.code);
    this.#client.fail(error);
  }

  #over(status: number, code?: ErrorCode): void {
    this.#phase = 'over';
    this.#held = undefined;
    const outcome = status === CANCELLED ? 'cancelled' : ((code && OUTCOMES[code]) ?? (status < 500 ? 'ok' : 'error'));
    this.#report(status, outcome, performance.now(), code);
  }

  /** What it used, once: as soon as its work is done or is being ended, while the counters are still there. */
  #measure(): void {
    if (this.#baseline) this.#used ??= this.#instance?.usage?.end(this.#baseline);
    this.#baseline = undefined;
  }

  #report(status: number, outcome: Outcome, now: Millis, code?: ErrorCode): void {
    const { function: name, id: revision } = this.#group.revision;
    this.#owner.finished(name, {
      id: this.#requestId,
      at: Date.now(),
      revision,
      ...(this.#instance && { instance: this.#instance.info.id }),
      method: this.#head.method,
      status,
      ...(code && { code }),
      outcome,
      start: this.#startKind,
      wall: Number((now - this.#arrivedAt).toFixed(3)),
      cpu: 0,
      throttled: 0,
      shared: false,
      ...this.#used,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    });
  }

  /** The reply that was held until its account was known, or until it grew too large to hold. */
  #letGo(field: string): void {
    const { head, body } = this.#held!;
    this.#held = undefined;
    this.#client.out.text(`${head}${field}\r\n`);
    this.#client.out.append(body);
  }

  /** `x-fn-account: outcome=ok;wall_ms=…`, durations in ms and µs, sizes in bytes. */
  #accountField(now: Millis): string {
    const used = this.#used;
    if (!used) return '';
    const peak = used.memoryPeak === undefined ? '' : `;memory_peak_bytes=${used.memoryPeak}`;
    return (
      `x-fn-account: outcome=${this.#status < 500 ? 'ok' : 'error'};wall_ms=${(now - this.#arrivedAt).toFixed(2)}` +
      `;cpu_us=${used.cpu};throttled_us=${used.throttled}${peak};bytes_in=${this.#bytesIn};bytes_out=${this.#bytesOut}` +
      `;shared=${used.shared}\r\n`
    );
  }

  #renderHead(deadline: Millis): string {
    const { method, fields, contentLength, chunked, webSocket, traced, host } = this.#head;
    let head = `${method} ${this.#target} HTTP/1.1\r\n${fields}`;
    if (host === '') head += `host: ${this.#group.revision.function}\r\n`; // HTTP/1.0 may lack one, 1.1 may not.
    if (contentLength >= 0) head += `content-length: ${contentLength}\r\n`;
    else if (chunked) head += 'transfer-encoding: chunked\r\n';
    if (webSocket) head += 'connection: Upgrade\r\nupgrade: websocket\r\n';
    if (!traced) head += `traceparent: 00-${randomHex(32)}-${randomHex(16)}-01\r\n`;
    return `${head}${this.#forwarded()}x-request-id: ${this.#requestId}\r\nx-fn-deadline: ${deadline}\r\n\r\n`;
  }

  /** Who the client is, from the socket; made once for a connection and a Host. */
  #forwarded(): string {
    const client = this.#client;
    const { host } = this.#head;
    if (client.forwarded === '' || client.forwardedHost !== host) {
      const address = client.remoteAddress.replace(/^::ffff:(?=\d+\.)/, '');
      const node = address === '' ? 'unknown' : address.includes(':') ? `"[${address}]"` : address;
      client.forwardedHost = host;
      const realAddress = address === '' ? '' : `x-forwarded-for: ${address}\r\n`;
      const asked = host === '' ? '' : `x-forwarded-host: ${host}\r\n`;
      const forwarded = `forwarded: for=${node};proto=http${host === '' ? '' : `;host="${host}"`}\r\n`;
      client.forwarded = `${realAddress}x-forwarded-proto: http\r\n${asked}${forwarded}`;
    }
    return client.forwarded;
  }
}

/** The error for a connection that broke, from what the worker saw. */
function whyBroken(error: Error, seen: Autopsy): FnError {
  const known = seen.problem && fromProblem(seen.problem);
  if (known && seen.reason !== 'timeout') return known; // The deadline was another invocation's.
  if (error instanceof BadReply) return new FnError('function.bad_reply', `the reply is malformed: ${error.message}`);
  if (seen.alive) return new FnError('function.bad_reply', 'it closed the connection before its reply was complete');
  const { code, detail } = seen.reason ? ENDINGS[seen.reason] : CRASHED;
  return new FnError(code, detail);
}

interface Ending {
  readonly code: ErrorCode;
  readonly detail: string;
}
const CRASHED: Ending = { code: 'function.crashed', detail: 'the instance exited before its reply was complete' };
const KILLED: Ending = { code: 'function.killed', detail: 'the instance was stopped before its reply was complete' };
const ENDINGS: Readonly<Record<EndReason, Ending>> = {
  exit: CRASHED,
  signal: KILLED,
  oom: { code: 'function.oom', detail: 'the instance was over its memory limit' },
  timeout: { code: 'function.killed', detail: 'the instance was stopped: another invocation passed its deadline' },
  'load-error': CRASHED,
  'start-timeout': CRASHED,
  'scaled-down': KILLED,
  replaced: KILLED,
  removed: KILLED,
  shutdown: KILLED,
  lost: KILLED,
};
