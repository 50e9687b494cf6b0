/** Our own log: one JSON object a line on standard error, events rather than prose. Never bodies, headers or secrets. */

import { pino, type Logger } from 'pino';

export type Log = Logger;

/** @param component the process: gateway, worker, controller, builder, server. */
export function createLog(component: string, level: string): Log {
  return pino(
    { level, base: { component, pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
}

export const silentLog: Log = pino({ level: 'silent' });
