/** Identifiers. Each is a branded string that is parsed once, where it enters, and trusted afterwards. */

import { randomBytes } from 'node:crypto';

declare const brand: unique symbol;
type Brand<B extends string> = string & { readonly [brand]: B };

/** A DNS label: what a function is called, and the first part of its host name. */
export type FunctionName = Brand<'FunctionName'>;
/** `<function>-<number, five digits or more>`, for example `hello-00003`. */
export type RevisionId = Brand<'RevisionId'>;
/** 8 hex digits: container id, cgroup and socket name of a sandbox. */
export type SandboxId = Brand<'SandboxId'>;
/** `<function>-<sandbox>`: an instance keeps the digits of the sandbox it runs in. */
export type InstanceId = Brand<'InstanceId'>;
/** `<function>.<20 characters, sortable by time>`: names the function, so a look-up needs no index. */
export type InvocationId = Brand<'InvocationId'>;
/** One host that runs instances. */
export type NodeId = Brand<'NodeId'>;
/** `sha256:<64 hex digits>`. */
export type Digest = Brand<'Digest'>;

/** RFC 1123 label, but at most 40 characters, so that `<name>-<8 hex>` and derived names stay below 63. */
export const FUNCTION_NAME_PATTERN = /^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$/;
export const FUNCTION_NAME_ALLOWED =
  'a DNS label: lower-case letters, digits and "-", at most 40, starting with a letter';

export function parseFunctionName(text: string): FunctionName | undefined {
  return FUNCTION_NAME_PATTERN.test(text) ? (text as FunctionName) : undefined;
}

export function parseDigest(text: string): Digest | undefined {
  return /^sha256:[0-9a-f]{64}$/.test(text) ? (text as Digest) : undefined;
}

export function revisionId(name: FunctionName, number: number): RevisionId {
  return `${name}-${String(number).padStart(5, '0')}` as RevisionId;
}

/** Revisions and instances are called `<function>-<something without a dash>`. */
export function functionOf(id: string): FunctionName {
  return id.slice(0, id.lastIndexOf('-')) as FunctionName;
}

export function newSandboxId(): SandboxId {
  return randomBytes(4).toString('hex') as SandboxId;
}

export function parseSandboxId(text: string): SandboxId | undefined {
  return /^[0-9a-f]{8}$/.test(text) ? (text as SandboxId) : undefined;
}

export function instanceId(name: FunctionName, sandbox: SandboxId): InstanceId {
  return `${name}-${sandbox}` as InstanceId;
}

/** Time first, so that ids sort by age: 9 characters of milliseconds and 11 of randomness (57 bits), base 36. */
export function newInvocationId(name: FunctionName, nowMs: number = Date.now()): InvocationId {
  const random = BigInt(`0x${randomBytes(8).toString('hex')}`)
    .toString(36)
    .padStart(13, '0')
    .slice(-11);
  return `${name}.${nowMs.toString(36).padStart(9, '0')}${random}` as InvocationId;
}

export function parseInvocationId(text: string): { id: InvocationId; function: FunctionName } | undefined {
  const dot = text.indexOf('.');
  const name = parseFunctionName(text.slice(0, dot));
  if (dot < 1 || !name || !/^[0-9a-z-]{1,64}$/.test(text.slice(dot + 1))) return undefined;
  return { id: text as InvocationId, function: name };
}

/** A request id we accept from a client: visible ASCII without quotes, short enough for a log line. Else make one. */
export function requestIdFrom(header: string | undefined): string {
  if (header !== undefined && /^[\w.:/+=@-]{1,128}$/.test(header)) return header;
  return randomBytes(12).toString('hex');
}
