/** What core/service.ts gives a service, for tests that start one without a process of its own. */

import type { EndOptions } from '../../core/service.ts';

/** Nobody was there before. */
export const takeOver = (): Promise<void> => Promise.resolve();

/** Nobody comes after, and there is time. */
export const END: EndOptions = { released: () => {}, hurry: new AbortController().signal };
