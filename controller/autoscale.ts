/** How many instances a function should have. One pure decision over what was measured, with the rule that fired and a
 *  sentence for a person, so that `fn inspect` can show it and a test can jump five minutes in a line.
 *
 *  The names and defaults are Knative's: a stable window and a panic window, a tenth as long, on the average concurrency;
 *  panic when the short window wants twice what is ready; a limited rate of change. One thing differs: a gateway starts an
 *  instance by itself the moment a request finds no free slot, so this decision never has to be fast. What it adds is
 *  room ahead of the need, and above all the way down, which must not undo a burst that is merely a second old:
 *  `scale-down-delay` keeps as many slots as were busy at once within the last `scale.idle`. */

import type { FunctionSpec } from '../core/spec.ts';
import { formatDuration, type Millis } from '../core/units.ts';

export const STABLE_WINDOW: Millis = 60_000;
/** panic-window-percentage 10. */
export const PANIC_WINDOW: Millis = 6000;
/** panic-threshold-percentage 200. */
const PANIC_THRESHOLD = 2;
const MAX_SCALE_UP_RATE = 1000;
const MAX_SCALE_DOWN_RATE = 2;

export type ScaleSpec = Pick<FunctionSpec, 'concurrency' | 'isolation' | 'scale'>;

/** What was measured. Concurrency counts requests being answered and requests waiting. */
export interface Load {
  /** False while no gateway reports: then nothing is known, which is not the same as no load. */
  readonly reporting: boolean;
  /** Average concurrency over STABLE_WINDOW and PANIC_WINDOW. */
  readonly stable: number;
  readonly panic: number;
  /** Highest concurrency within the scale-down delay: scale.idle, at most STABLE_WINDOW. */
  readonly peak: number;
  /** Invocations a second over STABLE_WINDOW. */
  readonly arrivals: number;
  /** Jobs waiting or active, at most as many as the consumers take at once. */
  readonly backlog: number;
  /** Since the last invocation, or since the newest instance became ready. Infinity when there was neither. */
  readonly idleFor: Millis;
}

export interface ScaleState {
  /** Instances that can take requests, and those plus the starting ones. */
  readonly ready: number;
  readonly alive: number;
  readonly panic?: Panic;
}

/** Since when the panic threshold was last exceeded, and the most that was wanted meanwhile. */
export interface Panic {
  readonly since: Millis;
  readonly desired: number;
}

export type ScaleRule =
  | 'no-reports'
  | 'scale-to-zero'
  | 'idle'
  | 'min'
  | 'max'
  | 'panic'
  | 'queue'
  | 'concurrency'
  | 'scale-down-rate'
  | 'scale-down-delay'
  | 'keep-warm'
  | 'one-each';

export interface ScaleDecision {
  readonly desired: number;
  readonly rule: ScaleRule;
  readonly reason: string;
  readonly inputs: Readonly<Record<string, number | boolean>>;
  /** How long until the function counts as idle if nothing more comes. */
  readonly idleAfter: Millis;
  /** To be passed in with the next decision. */
  readonly panic?: Panic;
}

interface Wish {
  readonly desired: number;
  readonly rule: ScaleRule;
  readonly reason: string;
}

export function autoscale(spec: ScaleSpec, load: Load, state: ScaleState, now: Millis): ScaleDecision {
  const { scale, concurrency } = spec;
  const facts = { inputs: inputsOf(load, state), idleAfter: Math.max(0, scale.idle - load.idleFor) };

  if (!load.reporting) {
    const reason = 'no gateway reports its load, so the count stays';
    return { ...clamp(scale, { desired: state.alive, rule: 'no-reports', reason }), ...facts };
  }
  if (load.idleFor >= scale.idle && load.backlog === 0) {
    const reason = `no invocation for ${formatDuration(scale.idle)} or longer`;
    const rule = scale.min === 0 ? 'scale-to-zero' : 'idle';
    return { desired: scale.min, rule, reason, ...facts };
  }

  const target = concurrency * scale.target;
  const panic = panicOf(instancesFor(load.panic, target), state, now);
  const wishes: Wish[] = [stableWish(load, state, target)];
  if (load.backlog > 0) {
    const reason = `${load.backlog} jobs wait or run, ${concurrency} at once in an instance`;
    wishes.push({ desired: Math.ceil(load.backlog / concurrency), rule: 'queue', reason });
  }
  if (panic) {
    const reason = `${round(load.panic)} busy over ${formatDuration(PANIC_WINDOW)}: growing only, for ${formatDuration(STABLE_WINDOW)}`;
    wishes.push({ desired: Math.max(panic.desired, state.ready), rule: 'panic', reason });
  }
  const used = Math.min(Math.ceil(load.peak / concurrency), state.ready);
  const window = formatDuration(Math.min(scale.idle, STABLE_WINDOW));
  wishes.push({
    desired: used,
    rule: 'scale-down-delay',
    reason: `${load.peak} were busy at once in the last ${window}`,
  });
  wishes.push({ desired: 1, rule: 'keep-warm', reason: `invoked within the last ${formatDuration(scale.idle)}` });

  // The first of the highest wishes names the rule.
  const highest = wishes.reduce((best, wish) => (wish.desired > best.desired ? wish : best));
  return { ...limited(spec, state, clamp(scale, highest)), ...facts, ...(panic && { panic }) };
}

function stableWish(load: Load, state: ScaleState, target: number): Wish {
  const wanted = instancesFor(load.stable, target);
  const reason = `${round(load.stable)} busy on average over ${formatDuration(STABLE_WINDOW)}, ${round(target)} aimed at in an instance`;
  const ready = Math.max(1, state.ready);
  const lowest = Math.floor(state.ready / MAX_SCALE_DOWN_RATE);
  if (wanted < lowest) {
    return { desired: lowest, rule: 'scale-down-rate', reason: `${reason}; at most half stops at a time` };
  }
  return { desired: Math.min(wanted, Math.ceil(MAX_SCALE_UP_RATE * ready)), rule: 'concurrency', reason };
}

/** 700 / 0.7 is 1000.0000000000001 to a computer; that is no reason for one more. */
function instancesFor(concurrency: number, target: number): number {
  return Math.ceil(concurrency / target - 1e-9);
}

/** Panic begins when the short window wants twice what is ready, and ends a stable window after it last did. */
function panicOf(wanted: number, state: ScaleState, now: Millis): Panic | undefined {
  const before = state.panic && now - state.panic.since < STABLE_WINDOW ? state.panic : undefined;
  if (wanted / Math.max(1, state.ready) >= PANIC_THRESHOLD) {
    return { since: now, desired: Math.max(wanted, before?.desired ?? 0) };
  }
  return before;
}

function clamp(scale: ScaleSpec['scale'], wish: Wish): Wish {
  if (wish.desired < scale.min) {
    return { desired: scale.min, rule: 'min', reason: `scale.min keeps ${scale.min} ready` };
  }
  if (wish.desired > scale.max) {
    return {
      desired: scale.max,
      rule: 'max',
      reason: `${wish.desired} wanted (${wish.reason}), scale.max is ${scale.max}`,
    };
  }
  return wish;
}

/** An instance that serves one invocation is no room for the next. The gateway starts one for each as it comes; what the load
 *  of the last ones would have wanted comes on top, serves nobody, and is stopped again. */
function limited({ isolation, scale }: ScaleSpec, { alive }: ScaleState, wish: Wish): Wish {
  const most = Math.max(scale.min, alive);
  if (isolation === 'instance' || wish.desired <= most) return wish;
  return { desired: most, rule: 'one-each', reason: 'every invocation has an instance of its own started for it' };
}

function inputsOf(load: Load, state: ScaleState): ScaleDecision['inputs'] {
  return {
    ready: state.ready,
    alive: state.alive,
    stable: round(load.stable),
    panic: round(load.panic),
    peak: load.peak,
    arrivalsPerS: round(load.arrivals),
    backlog: load.backlog,
    reporting: load.reporting,
    ...(Number.isFinite(load.idleFor) && { idleMs: Math.round(load.idleFor) }),
  };
}

const round = (value: number): number => Number(value.toFixed(2));
