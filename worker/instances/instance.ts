/** One instance: a sandbox that runs a revision. Keeps its record, its owner and its last log lines; InstanceManager decides
 *  what happens to it. `starting → ready → draining → stopped | failed`. */

import type { RoutableInstance } from '../../core/control.ts';
import type { InstanceId } from '../../core/ids.ts';
import type { LogFile, LogLine } from '../../core/logs.ts';
import type { EndReason, InstanceRecord, RevisionRecord } from '../../core/records.ts';
import type { PipeLine } from '../sandbox/log-pipe.ts';
import type { Bytes } from '../../core/units.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { Ending } from './manager.ts';

/** What a sandbox remembers on disk about the instance in it. */
export interface InstanceOwner {
  readonly record: InstanceRecord;
  readonly revision: RevisionRecord;
}

const TAIL_LINES = 20;

export class Instance {
  readonly revision: RevisionRecord;
  readonly sandbox: Sandbox<InstanceOwner>;
  /** Resolves once it has ended and how is known. */
  readonly over: Promise<Ending>;
  readonly finish: (ending: Ending) => void;
  /** The gateway connection whose it is; undefined while no gateway is there. */
  owner: symbol | undefined;
  /** Why the platform is ending it, when it is. */
  intent: EndReason | undefined;
  /** And the invocation that made it, when one did. */
  endedBy: string | undefined;
  /** Not ready yet: its end is the answer to whoever started it. */
  loading = true;
  /** Settles when that is decided; rejects with why it never will be ready. */
  loaded: Promise<void> = Promise.resolve();
  /** An invocation broke on it: its end is not a crash loop. */
  broke = false;
  /** An invocation went to it before it ended: its end is not a crash loop either. */
  served = false;
  #record: InstanceRecord;
  readonly #log: LogFile;
  readonly #tail: string[] = [];

  /** @param dropped hears how many bytes of log were over the rate limit. */
  constructor(
    record: InstanceRecord,
    revision: RevisionRecord,
    sandbox: Sandbox<InstanceOwner>,
    log: LogFile,
    dropped: (bytes: Bytes) => void,
  ) {
    this.#record = record;
    this.revision = revision;
    this.sandbox = sandbox;
    const { promise, resolve } = Promise.withResolvers<Ending>();
    this.over = promise;
    this.finish = resolve;
    this.#log = log;
    sandbox.listen({
      onLines: (lines) => {
        for (const { text } of lines) this.#tail.push(text);
        this.#tail.splice(0, this.#tail.length - TAIL_LINES);
        log.append(lines.map((line) => this.#logLine(line, 'function')));
      },
      onDropped: (bytes) => {
        dropped(bytes);
        this.note(`${bytes} bytes of log over the rate limit were dropped`);
      },
    });
  }

  /** A line of ours among the function's. */
  note(text: string): void {
    const invocation = this.endedBy;
    this.#log.append([this.#logLine({ text: `[${text}]`, ...(invocation && { invocation }) }, 'platform')]);
  }

  get id(): InstanceId {
    return this.#record.id;
  }

  get record(): InstanceRecord {
    return this.#record;
  }

  /** The last log lines, oldest first. */
  get tail(): readonly string[] {
    return this.#tail;
  }

  change(change: Partial<InstanceRecord>): InstanceRecord {
    this.#record = { ...this.#record, ...change };
    return this.#record;
  }

  routable(): RoutableInstance {
    const { id, function: name, revision, start } = this.#record;
    const { concurrency } = this.revision.spec;
    const { socket, gatewayFiles } = this.sandbox;
    const common = { id, function: name, revision, socket, concurrency, ...gatewayFiles };
    // Only of a warm sandbox does a gateway hear before it is ready.
    return this.loading ? { ...common, start: 'claimed', loading: true } : { ...common, start: start?.kind ?? 'cold' };
  }

  #logLine(line: PipeLine, from: LogLine['from']): LogLine {
    return { at: Date.now(), instance: this.id, revision: this.#record.revision, from, ...line };
  }
}
