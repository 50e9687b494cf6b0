/** A reply of one JSON object a line, sent as they come. The generator is asked for the next one only when the client has
 *  taken the last, and is ended when the client goes away. */

export function ndjson<T>(
  lines: (signal: AbortSignal) => AsyncGenerator<T>,
  onFail: (error: unknown) => T | undefined,
): Response {
  const gone = new AbortController();
  const generator = lines(gone.signal);
  const encoder = new TextEncoder();
  const encode = (value: T): Uint8Array => encoder.encode(`${JSON.stringify(value)}\n`);
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { value, done } = await generator.next();
          if (done) controller.close();
          else controller.enqueue(encode(value));
        } catch (error) {
          // The status line is long gone: the error is the last line.
          const last = gone.signal.aborted ? undefined : onFail(error);
          if (last !== undefined) controller.enqueue(encode(last));
          controller.close();
        }
      },
      cancel(reason) {
        gone.abort(reason);
        return generator.return(undefined).then(
          () => undefined,
          () => undefined,
        );
      },
    },
    { highWaterMark: 1 },
  );
  return new Response(body, { headers: { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' } });
}
