/** Aliases: names beside a function's own that point at one or two of its revisions by weight, `hello@live`. What follows the
 *  `@` is an alias or the number of a revision; an alias begins with a letter, so the two are never confused, and a function's
 *  name has no `@`, so neither are the function and its alias. */

import { FUNCTION_NAME_PATTERN, type FunctionName, type RevisionId } from './ids.ts';
import type { FunctionRecord, Share } from './records.ts';

/** A DNS label, since an alias is the first part of a host name: `live.hello.<domain>`. */
export const ALIAS_PATTERN = /^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$/;
export const ALIASES_MAX = 20;
/** Revisions an alias may point at. */
export const TARGETS_MAX = 2;

/** Where a request says whose it is: `header:<name>` or `cookie:<name>`. */
export const STICKY_PATTERN = /^(header|cookie):[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
export const STICKY_ALLOWED = 'header:<name> or cookie:<name>';

/** What stands for a function, or for some of its revisions, in paths: `hello`, `hello@live`, `hello@3`. */
export function calleeOf(name: FunctionName, qualifier: string | undefined): string {
  return qualifier === undefined ? name : `${name}@${qualifier}`;
}

export function splitCallee(callee: string): { name: FunctionName; qualifier?: string } {
  const at = callee.indexOf('@');
  if (at < 0) return { name: callee as FunctionName };
  return { name: callee.slice(0, at) as FunctionName, qualifier: callee.slice(at + 1) };
}

/** Whether the text can be a callee at all. */
export function isCallee(text: string): boolean {
  const { name, qualifier } = splitCallee(text);
  return FUNCTION_NAME_PATTERN.test(name) && (qualifier === undefined || /^([a-z0-9-]{1,32})$/.test(qualifier));
}

/** `hello-00003` is the third. */
export function numberOf(revision: RevisionId): number {
  return Number(revision.slice(revision.lastIndexOf('-') + 1));
}

/** Every share of every alias. */
export function aliasShares(fn: FunctionRecord): Share[] {
  return Object.values(fn.aliases ?? {}).flatMap(({ targets }) => targets);
}

/** Revisions that have no traffic but an alias: they stay, and their instances start when somebody calls. */
export function aliasedOnly(fn: FunctionRecord): Set<RevisionId> {
  const inTraffic = new Set(fn.traffic.map(({ revision }) => revision));
  return new Set(aliasShares(fn).flatMap(({ revision }) => (inTraffic.has(revision) ? [] : [revision])));
}
