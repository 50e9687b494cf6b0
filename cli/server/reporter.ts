/** What the supervisor says while it runs: short lines for a person, or JSON for a log collector. The processes' own logs
 *  go to files; of them only warnings and worse are shown. */

import { formatDuration, type Millis } from '../../core/units.ts';
import { createLog } from '../../core/log.ts';
import { dim, paint } from '../output.ts';

export interface Reporter {
  /** Something went as it should. */
  done(what: string, detail: string, ms?: Millis): void;
  /** Something went wrong and is being dealt with. */
  warn(what: string, detail: string): void;
  /** A line of a process's own log. */
  line(process: string, text: string): void;
  /** Free text, for people only. */
  say(text: string): void;
}

export function humanReporter(): Reporter {
  return {
    done: (what, detail, ms) =>
      console.log(`  ${what.padEnd(12)}${detail}${ms === undefined ? '' : dim(`  ${formatDuration(ms)}`)}`),
    warn: (what, detail) => console.log(`${paint('yellow', '!')} ${what.padEnd(12)}${detail}`),
    line: (process, text) => {
      const shown = warningIn(text);
      if (shown !== undefined) console.log(`${paint('yellow', '!')} ${process.padEnd(12)}${shown}`);
    },
    say: (text) => console.log(text),
  };
}

export function jsonReporter(level: string): Reporter {
  const log = createLog('server', level);
  return {
    done: (what, detail, ms) => log.info({ what, ...(ms !== undefined && { ms: Math.round(ms) }) }, detail),
    warn: (what, detail) => log.warn({ what }, detail),
    line: (process, text) => {
      if (text.startsWith('{')) console.error(text);
      else log.warn({ what: process }, text);
    },
    say: () => {},
  };
}

/** pino's level 40 is a warning. What is not JSON was written by Node or by Redis, and matters. */
function warningIn(text: string): string | undefined {
  try {
    const { level, msg, err, ...facts } = JSON.parse(text) as {
      level: number;
      msg?: string;
      err?: { message?: string };
    } & Record<string, unknown>;
    if (level < 40) return undefined;
    const shown = Object.entries(facts).filter(([key]) => !['time', 'pid', 'component'].includes(key));
    const rest = shown.map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
    return [msg, err?.message, ...rest].filter(Boolean).join(' ');
  } catch {
    return text;
  }
}
