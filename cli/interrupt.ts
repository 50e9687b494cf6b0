/** Ctrl-C for verbs that wait: the first one aborts what they do so that they end cleanly; a second one ends at once. */

/** What shells report of a program that Ctrl-C ended. */
export const INTERRUPTED = 130;

/** Call once, when the waiting begins. */
export function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  process.once('SIGINT', () => {
    controller.abort();
    process.once('SIGINT', () => process.exit(INTERRUPTED));
  });
  return controller.signal;
}
