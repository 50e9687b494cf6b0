/** 'ok', or the code of the error that stopped it. */

export function attempt(action) {
  try {
    action();
    return 'ok';
  } catch (error) {
    return error.code ?? String(error);
  }
}

/** What each action came to, by name. */
export function attemptEach(actions) {
  return Object.fromEntries(Object.entries(actions).map(([name, action]) => [name, attempt(action)]));
}

export async function settle(promise) {
  return promise.then(
    () => 'ok',
    (error) => error.code ?? String(error),
  );
}
