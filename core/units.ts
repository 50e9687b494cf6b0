/** Quantities as users write them and as code computes with them. Inside, a quantity is a branded number whose type names
 *  its unit; outside (fn.yaml, environment, flags) it is text with a unit suffix. Parsing happens once, at the edge. */

declare const unit: unique symbol;
/** Milliseconds. */
export type Millis = number & { readonly [unit]?: 'ms' };
/** Microseconds: the kernel's accounts of cpu time. */
export type Micros = number & { readonly [unit]?: 'us' };
/** Bytes. */
export type Bytes = number & { readonly [unit]?: 'bytes' };
/** Thousandths of one CPU core, as in Kubernetes: 500 is half a core. */
export type MilliCpu = number & { readonly [unit]?: 'mcpu' };

const BYTE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
};

const TIME_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Parses `256Mi`, `1Gi`, `500M`, `1024`. Returns undefined for anything else. */
export function parseBytes(text: string | number): Bytes | undefined {
  const match = /^(\d+(?:\.\d+)?)(Ki|Mi|Gi|k|M|G|)B?$/.exec(String(text).trim());
  if (!match) return undefined;
  const factor = BYTE_UNITS[match[2] ?? ''];
  return factor === undefined ? undefined : Math.round(Number(match[1]) * factor);
}

/** Parses `30s`, `5m`, `250ms`, `1h`. A bare number is refused: `30` says nothing about its unit. */
export function parseDuration(text: string | number): Millis | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(String(text).trim());
  if (!match) return text === 0 || text === '0' ? 0 : undefined;
  const factor = TIME_UNITS[match[2] ?? ''];
  return factor === undefined ? undefined : Math.round(Number(match[1]) * factor);
}

/** Parses `500m` (half a core) and `2` or `0.5` (cores). */
export function parseCpu(text: string | number): MilliCpu | undefined {
  const match = /^(\d+(?:\.\d+)?)(m?)$/.exec(String(text).trim());
  if (!match) return undefined;
  return Math.round(Number(match[1]) * (match[2] === 'm' ? 1 : 1000));
}

/** `268435456` → `256Mi`; the largest binary unit that divides exactly, else one decimal. */
export function formatBytes(bytes: Bytes): string {
  for (const [name, factor] of [
    ['Gi', 2 ** 30],
    ['Mi', 2 ** 20],
    ['Ki', 2 ** 10],
  ] as const) {
    if (bytes >= factor) return `${Number((bytes / factor).toFixed(1))}${name}`;
  }
  return `${bytes}B`;
}

/** `1500` → `1.5s`, `60000` → `1m`. */
export function formatDuration(ms: Millis): string {
  for (const [name, factor] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
  ] as const) {
    if (ms >= factor && ms % factor === 0) return `${ms / factor}${name}`;
  }
  if (ms >= 1000) return `${Number((ms / 1000).toFixed(1))}s`;
  return ms < 10 ? `${Number(ms.toFixed(1))}ms` : `${Math.round(ms)}ms`;
}
