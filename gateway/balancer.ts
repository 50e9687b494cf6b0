/** Which instance takes a request, and how many more there should be. Pure: counts come in, a choice goes out. */

export interface Candidate {
  /** It may be sent to at all. */
  readonly isOpen: boolean;
  readonly inFlight: number;
  readonly concurrency: number;
}

/** The instance with the fewest invocations among those with a free slot; the earliest of equals. Keeping to the order
 *  leaves the last ones idle, so that scaling down finds whole instances to stop. */
export function leastLoaded<T extends Candidate>(instances: readonly T[]): T | undefined {
  let best: T | undefined;
  let least = 0;
  for (const instance of instances) {
    if (!instance.isOpen) continue;
    const { inFlight } = instance;
    if (inFlight === 0) return instance;
    if (inFlight >= instance.concurrency || (best && inFlight >= least)) continue;
    best = instance;
    least = inFlight;
  }
  return best;
}

export interface Demand {
  readonly inFlight: number;
  readonly waiting: number;
  readonly concurrency: number;
  readonly instances: number;
  readonly starting: number;
  readonly max: number;
}

/** Starts to ask for: enough for everything in flight and waiting to have a slot, but never beyond scale.max. */
export function startsNeeded({ inFlight, waiting, concurrency, instances, starting, max }: Demand): number {
  const have = instances + starting;
  const wanted = Math.min(max, Math.ceil((inFlight + waiting) / concurrency));
  return waiting === 0 ? 0 : Math.max(0, wanted - have);
}

export interface Weighted {
  readonly weight: number;
  current: number;
}

/** Smooth weighted round robin: over any run of requests each target gets its share to within one, and turns interleave
 *  (5:1 gives aaabaa, not aaaaab). Undefined when there is none with a weight. */
export function nextWeighted<T extends Weighted>(targets: readonly T[]): T | undefined {
  let best: T | undefined;
  let total = 0;
  for (const target of targets) {
    if (target.weight <= 0) continue;
    total += target.weight;
    target.current += target.weight;
    if (best === undefined || target.current > best.current) best = target;
  }
  if (best) best.current -= total;
  return best;
}
