/** The oracle of the tests beside: the same program runs with our classes and with node's, and what it returns or throws
 *  must be the same. */

import { Headers as OwnHeaders } from '../../../runtime/node/fetch/headers.mjs';
import { Request as OwnRequest } from '../../../runtime/node/fetch/request.mjs';
import { Response as OwnResponse } from '../../../runtime/node/fetch/response.mjs';

export interface Classes {
  readonly Headers: typeof Headers;
  readonly Request: typeof Request;
  readonly Response: typeof Response;
}

export type Program = (classes: Classes) => unknown;

export const NODE: Classes = { Headers, Request, Response };
export const OURS = { Headers: OwnHeaders, Request: OwnRequest, Response: OwnResponse } as unknown as Classes;

export async function outcome(program: Program, classes: Classes): Promise<unknown> {
  try {
    return { returned: await program(classes) };
  } catch (error) {
    return { threw: (error as Error).name };
  }
}

export const stream = (...chunks: unknown[]): ReadableStream => ReadableStream.from(chunks);
export const bytes = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(text));
