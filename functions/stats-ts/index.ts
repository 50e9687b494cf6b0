/** Statistics of a list of numbers: the AWS Lambda signature, in TypeScript. Called over HTTP, the event is a request in the
 *  function URL format and the numbers are its JSON body; as a raw event or a job, `numbers` is a member of the event itself. */

import type { Context, FunctionUrlEvent, FunctionUrlReply } from '../../runtime/node/types.d.ts';
import { summarize, type Summary } from './summary.ts';

interface Numbers {
  readonly numbers: readonly number[];
}

export async function handler(
  event: FunctionUrlEvent | Numbers,
  context: Context,
): Promise<FunctionUrlReply | Summary> {
  if ('numbers' in event) return summarize(event.numbers);
  const numbers = numbersOf(event);
  if (!numbers) return reply(400, { error: 'send JSON such as {"numbers":[1,2,3]}' });
  console.log(`${numbers.length} numbers, ${context.getRemainingTimeInMillis()} ms left`);
  return reply(200, summarize(numbers));
}

function numbersOf({ body = '', isBase64Encoded }: FunctionUrlEvent): readonly number[] | undefined {
  const text = isBase64Encoded ? Buffer.from(body, 'base64').toString() : body;
  try {
    const { numbers } = JSON.parse(text) as { numbers?: unknown };
    const valid = Array.isArray(numbers) && numbers.length > 0 && numbers.every((one) => Number.isFinite(one));
    return valid ? (numbers as number[]) : undefined;
  } catch {
    return undefined; // Not JSON: the caller is told what is.
  }
}

function reply(statusCode: number, body: object): FunctionUrlReply {
  return { statusCode, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}
