/** How routes describe their replies in /openapi.json. */

import { type RouteConfig, z } from '@hono/zod-openapi';
import { problemSchema } from './schemas.ts';

export const json = <S extends z.ZodType>(schema: S, description: string) => ({
  description,
  content: { 'application/json': { schema } },
});
/** Replies that no handler returns as a typed value: streams, and errors, which are thrown. */
const raw = (type: string, schema: z.ZodType, description: string): RouteConfig['responses'][string] => ({
  description,
  content: { [type]: { schema } },
});
export const problem = (description: string) => raw('application/problem+json', problemSchema, description);
export const lines = (description: string) => raw('application/x-ndjson', z.string(), description);
