/** One invocation over HTTP: from a matched route to the last byte of the reply. It takes a slot or waits for one, writes the
 *  request to the instance, and passes the reply on as it comes. What can go wrong on the way is decided here:
 *
 *  - nothing reached the instance: again on another one; otherwise never again;
 *  - no reply within the timeout: the instance is killed, and only then is the client told; one that still loads its handler
 *    goes on with that, for whoever comes next;
 *  - the connection broke: the worker is asked how the instance ended, the client is told that, or is cut off when half a
 *    reply is out;
 *  - the client goes: the instance is told by a half-close, and its slot stays taken until it lets go. */

import { type ErrorCode, FnError } from '../core/errors.ts';
import type { RevisionRecord } from '../core/records.ts';
import type { Tracer } from '../core/tracer.ts';
import { formatDuration, type Millis } from '../core/units.ts';
import { BLOCKED_BY_FUNCTION, type ClientConnection } from './connection.ts';
import type { Exchange } from './exchange.ts';
import type { Autopsy } from './control.ts';
import { CANCELLED, whyBroken } from './endings.ts';
import { type Framing, framingFields, framingFor, functionHead } from './heads.ts';
import { free } from './http/free.ts';
import { Outbox } from './http/outbox.ts';
import type { ReplyHead } from './http/parse-reply.ts';
import type { RequestHead } from './http/parse-request.ts';
import { dateField, reasonOf } from './http/write.ts';
import { withoutCors } from './policy/fields.ts';
import { DOOMED, LOADING } from './slots/cell.ts';
import type { Group, Waiter } from './slots/group.ts';
import type { Instance } from './slots/instance.ts';
import { Tally } from './tally.ts';
import type { ReplySink, Upstream } from './upstream.ts';

/** What an invocation needs of the gateway. */
export interface InvocationOwner {
  /** Where spans go; absent when nobody wants them. */
  readonly tracer: Tracer | undefined;
  /** Where a request goes now; throws FnError when there is nowhere.
   *  @param callee a function's name, or with an alias or a revision's number: core/aliases.ts.
   *  @param fields the lines of the request's head. */
  groupFor(callee: string, fields: string): Group;
  /** Ends the instance; resolves when it is gone or the worker did not say so in time. */
  kill(instance: Instance, reason: 'timeout' | 'used', invocation: string): Promise<void>;
  /** Takes the instance out of rotation while the worker looks at it. */
  autopsy(instance: Instance): Promise<Autopsy>;
  /** Its status is 499 when the client went first. */
  finished(revision: RevisionRecord, tally: Tally): void;
  failed(error: FnError): void;
}

/** Bytes of a body held for a request that waits for an instance. */
const EARLY_MAX = 64 * 1024;
/** Instances tried for one request. */
const ATTEMPTS_MAX = 3;
type Phase = 'waiting' | 'sent' | 'replying' | 'tunnel' | 'ending' | 'over';

export class Invocation implements Exchange, Waiter, ReplySink {
  readonly #owner: InvocationOwner;
  readonly #client: ClientConnection;
  readonly #head: RequestHead;
  readonly #callee: string;
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
  /** It was sent before its instance had loaded the handler; the timeout counts from then on. */
  #isEarly = false;
  #waited: Millis = 0;
  readonly #tally: Tally;
  /** The head of a reply that waits for its account, as the rest of it does in the client's outbox. */
  #held: string | undefined;
  /** The whole request, while it may still have to be sent again. */
  #replay: string | undefined;
  #framing: Framing = 'none';
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
    callee: string,
    target: string,
  ) {
    this.#owner = owner;
    this.#client = client;
    this.#head = head;
    this.#requestId = requestId;
    this.#target = target;
    this.#bodyDone = !client.bodyIncomplete;
    this.#callee = callee;
    this.#group = owner.groupFor(callee, head.fields);
    this.#arrivedAt = performance.now();
    this.#tally = new Tally(this.#arrivedAt, requestId, head);
    if (owner.tracer) this.#tally.trace = owner.tracer.begin(head.traceparent);
    this.#group.load.arrived(this.#arrivedAt);
  }

  // From the client.

  body(buffer: Buffer, start: number, end: number): void {
    this.#tally.bytesIn += end - start;
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

  bodyFlush(): boolean {
    if (this.#upstream && (this.#phase === 'sent' || this.#phase === 'replying')) {
      this.#replay = undefined;
      this.#write();
      return this.#upstream.socket.writableLength === 0;
    }
    if (this.#toFunction.size > EARLY_MAX) this.#client.block(BLOCKED_BY_FUNCTION, true);
    return false;
  }

  clientDrain(): void {
    this.#progressAt = performance.now();
    if (!this.#clientBlocked) return;
    this.#clientBlocked = false;
    this.#upstream?.socket.resume();
  }

  tunnel(chunk: Buffer): void {
    this.#progressAt = performance.now();
    const socket = this.#upstream?.socket;
    if (socket?.write(chunk) === false) {
      this.#functionBlocked = true;
      this.#client.block(BLOCKED_BY_FUNCTION, true);
    }
    if (socket?.writableLength === 0) free(chunk);
  }

  cancel(): void {
    switch (this.#phase) {
      case 'waiting':
        this.#group.leave(this);
        this.#over(CANCELLED);
        break;
      case 'sent':
      case 'replying':
      case 'tunnel':
        this.#abandon(CANCELLED);
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
    this.#group.load.began(now);
    const { wasFrozen, wasFreezing, wasUsed } = instance.cell;
    const thawed = wasFrozen || wasFreezing;
    if (waited || thawed) {
      this.#tally.startKind = thawed ? 'thawed' : wasUsed ? 'warm' : instance.info.start;
      this.#waited = now - this.#arrivedAt;
    }
    this.#isEarly = instance.cell.has(LOADING);
    this.#tally.begin(instance, now);
    const upstream = instance.pool.take(now);
    this.#upstream = upstream;
    const timeout = this.#group.revision.spec.timeout;
    upstream.begin(this, this.#head.method === 'HEAD', this.#head.webSocket);
    upstream.arm(now + timeout, now);
    this.#progressAt = now;
    if (this.#replay === undefined) this.#toFunction.prepend(this.#functionHead(Date.now() + timeout));
    else this.#toFunction.text(this.#replay);
    this.#replay = this.#bodyDone ? this.#toFunction.asText : undefined;
    this.#write();
    if (wasFrozen) instance.thaw(); // Now the request is there, so it wakes up once.
  }

  refused(error: FnError): void {
    this.#fail(error);
  }

  moved(): void {
    try {
      this.#group = this.#owner.groupFor(this.#callee, this.#head.fields);
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
    const framing = framingFor(this.#head, head);
    this.#framing = framing;
    const fields = this.#client.decidesCors ? withoutCors(head.fields) : head.fields;
    const connection = framing === 'close' ? 'connection: close\r\n' : this.#client.connectionField;
    const text =
      `HTTP/1.1 ${head.status} ${head.reason || reasonOf(head.status)}\r\n${fields}${framingFields(this.#head, head)}` +
      this.#client.replyFields +
      `x-request-id: ${this.#requestId}\r\n${this.#instance!.replyFields}${this.#startField()}` +
      `${head.dated ? '' : dateField(Date.now())}${connection}`;
    if (this.#head.account && (framing === 'none' || (framing === 'length' && head.contentLength <= EARLY_MAX))) {
      this.#held = text;
    } else this.#client.out.text(`${text}\r\n`);
  }

  onUpgrade(head: ReplyHead): void {
    this.#phase = 'tunnel';
    this.#status = 101;
    this.#client.out.text(
      `HTTP/1.1 101 ${head.reason}\r\n${head.fields}connection: Upgrade\r\nupgrade: websocket\r\n` +
        `x-request-id: ${this.#requestId}\r\n${this.#instance!.replyFields}${this.#startField()}\r\n`,
    );
    this.#client.upgrade();
  }

  onPayload(buffer: Buffer, start: number, end: number): void {
    const out = this.#client.out;
    this.#tally.bytesOut += end - start;
    if (this.#framing !== 'chunked' || this.#phase === 'tunnel') out.bytes(buffer, start, end, true);
    else {
      out.text(`${(end - start).toString(16)}\r\n`);
      out.bytes(buffer, start, end, true);
      out.text('\r\n');
    }
  }

  onComplete(trailers: string, reusable: boolean): void {
    const now = performance.now();
    const client = this.#client;
    const wasTunnel = this.#phase === 'tunnel';
    this.#tally.measure();
    const account = this.#head.account ? this.#tally.field(this.#status) : '';
    if (this.#held !== undefined) client.out.prepend(`${this.#held}${account}\r\n`);
    else if (this.#framing === 'chunked' && !wasTunnel) client.out.text(`0\r\n${trailers}${account}\r\n`);
    this.#held = undefined;
    client.flush(true);
    const upstream = this.#upstream!;
    const instance = this.#instance!;
    if (this.#clientBlocked) upstream.socket.resume();
    if (!this.#bodyDone || wasTunnel) this.#abandon(this.#status);
    else {
      this.#phase = 'over';
      this.#upstream = undefined;
      if (reusable && !instance.cell.has(DOOMED)) instance.pool.give(upstream, now, instance.concurrency);
      else upstream.destroy();
      this.#group.load.ended(now);
      this.#report(this.#status);
      this.#release(instance);
    }
    client.done(wasTunnel || this.#framing === 'close');
  }

  onFlush(): void {
    if (this.#phase !== 'sent' && this.#phase !== 'replying' && this.#phase !== 'tunnel') return;
    if (this.#held === undefined && !this.#client.flush(this.#phase !== 'sent')) {
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
    this.#tally.measure();
    this.#client.block(BLOCKED_BY_FUNCTION, false);
    if (unsent && this.#replay !== undefined && this.#attempts < ATTEMPTS_MAX && !instance.cell.has(LOADING)) {
      this.#retry(instance);
      return;
    }
    this.#phase = 'ending';
    void this.#explain(instance, error);
  }

  onDeadline(): void {
    const now = performance.now();
    const timeout = this.#group.revision.spec.timeout;
    const { cell } = this.#instance!;
    const isLoading = cell.has(LOADING);
    let due = now;
    if (this.#phase === 'replying' || this.#phase === 'tunnel') due = this.#progressAt + timeout;
    else if (this.#isEarly && !isLoading) due = now - cell.readyFor(now) + timeout;
    if (now < due) {
      this.#upstream?.arm(due, now);
      return;
    }
    if (this.#clientBlocked || this.#phase === 'tunnel') {
      this.#client.cut(); // It does not read: 'close' cancels.
    } else if (this.#phase === 'sent' && !this.#bodyDone && !this.#functionBlocked) {
      this.#abandon(408);
      this.#client.fail(new FnError('request.timeout', `the body was not complete within ${formatDuration(timeout)}`));
    } else if (isLoading) this.#giveUp(timeout);
    else void this.#kill(timeout);
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

  /** Gives the slot back; an instance that is for one invocation only has none to give. */
  #release(instance: Instance): void {
    const { isolation } = this.#group.revision.spec;
    if (isolation === 'invocation') void this.#owner.kill(instance, 'used', this.#tally.id);
    instance.release();
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
    this.#tally.measure(seen.counters);
    this.#group.load.ended(performance.now());
    this.#fail(whyBroken(error, seen));
    instance.release();
  }

  /** The sandbox drops it unseen: its deadline is before the handler was loaded. */
  #giveUp(timeout: Millis): void {
    const instance = this.#instance!;
    this.#upstream?.destroy();
    this.#upstream = undefined;
    this.#tally.measure();
    this.#group.load.ended(performance.now());
    const detail = `the instance of ${this.#group.revision.function} was still loading after its timeout of ${formatDuration(timeout)}`;
    this.#fail(new FnError('function.start_timeout', detail));
    instance.release();
  }

  async #kill(timeout: Millis): Promise<void> {
    const instance = this.#instance!;
    this.#phase = 'ending';
    this.#upstream?.destroy();
    this.#upstream = undefined;
    this.#tally.measure();
    await this.#owner.kill(instance, 'timeout', this.#tally.id);
    this.#group.load.ended(performance.now());
    this.#fail(new FnError('function.timeout', `no reply within ${formatDuration(timeout)}; the instance was stopped`));
    instance.release();
  }

  /** Lets go of the instance in the middle. Its slot is free once it has let go as well. */
  #abandon(status: number): void {
    const instance = this.#instance!;
    const group = this.#group;
    const upstream = this.#upstream!;
    this.#upstream = undefined;
    this.#tally.measure();
    this.#over(status);
    upstream.abandon((inTime) => {
      if (!inTime && !instance.cell.has(LOADING)) void this.#owner.kill(instance, 'timeout', this.#tally.id);
      group.load.ended(performance.now());
      this.#release(instance);
    });
  }

  #fail(error: FnError): void {
    this.#owner.failed(error);
    this.#over(error.status, error.code);
    this.#client.fail(error, this.#head.account ? this.#tally.field(error.status, error.code) : '');
  }

  #over(status: number, code?: ErrorCode): void {
    this.#phase = 'over';
    this.#report(status, code);
  }

  #report(status: number, code?: ErrorCode): void {
    this.#tally.close(status, code);
    this.#owner.finished(this.#group.revision, this.#tally);
  }

  /** How it found its instance, and how long that took until it was ready for it. */
  #startField(): string {
    let waited = this.#waited;
    if (this.#isEarly) {
      const now = performance.now();
      waited = now - this.#arrivedAt - this.#instance!.cell.readyFor(now);
    }
    const ms = waited === 0 ? '0' : waited.toFixed(1);
    return `x-fn-start: ${this.#tally.startKind};ms=${ms}\r\n`;
  }

  #functionHead(deadline: Millis): string {
    const { function: name } = this.#group.revision;
    const forwarded = this.#client.origin.forwardedFor(this.#head.host);
    return functionHead(this.#head, this.#target, name, forwarded, this.#requestId, deadline, this.#tally.trace);
  }
}
