/** Every verb, what it is for in a line, and where its code is. docs/cli.md is checked against this table. */

import { FnError } from '../core/errors.ts';
import { nearest } from '../core/nearest.ts';
import type { Verb } from './verb.ts';

interface Entry {
  readonly summary: string;
  readonly group: 'functions' | 'platform' | 'processes';
  readonly load: () => Promise<{ readonly verb: Verb }>;
}

export const VERBS: Readonly<Record<string, Entry>> = {
  init: { group: 'functions', summary: 'Make a new function from a template', load: () => import('./verbs/init.ts') },
  deploy: {
    group: 'functions',
    summary: 'Build a function and send traffic to it',
    load: () => import('./verbs/deploy.ts'),
  },
  invoke: { group: 'functions', summary: 'Call a function', load: () => import('./verbs/invoke.ts') },
  ls: { group: 'functions', summary: 'List the functions', load: () => import('./verbs/ls.ts') },
  inspect: {
    group: 'functions',
    summary: 'Show everything about a function',
    load: () => import('./verbs/inspect.ts'),
  },
  logs: { group: 'functions', summary: "Show a function's log", load: () => import('./verbs/logs.ts') },
  invocations: {
    group: 'functions',
    summary: 'List the latest calls and what they used',
    load: () => import('./verbs/invocations.ts'),
  },
  alias: {
    group: 'functions',
    summary: 'Name revisions and divide traffic among them',
    load: () => import('./verbs/alias.ts'),
  },
  rm: { group: 'functions', summary: 'Remove functions', load: () => import('./verbs/rm.ts') },
  key: {
    group: 'functions',
    summary: 'Make, list and revoke API keys',
    load: () => import('./verbs/key.ts'),
  },
  secret: {
    group: 'functions',
    summary: 'Set, list and remove secrets',
    load: () => import('./verbs/secret.ts'),
  },
  server: { group: 'platform', summary: 'Run the platform', load: () => import('./verbs/server.ts') },
  restart: {
    group: 'platform',
    summary: 'Replace the processes of the platform without losing a request',
    load: () => import('./verbs/restart.ts'),
  },
  status: { group: 'platform', summary: 'Show whether the platform is well', load: () => import('./verbs/status.ts') },
  version: { group: 'platform', summary: 'Show the version', load: () => import('./verbs/version.ts') },
  completion: {
    group: 'platform',
    summary: 'Print a completion script for a shell',
    load: () => import('./verbs/completion.ts'),
  },
  help: { group: 'platform', summary: 'Show help for a verb', load: () => import('./verbs/help.ts') },
  gateway: { group: 'processes', summary: 'Run one gateway', load: () => import('./verbs/gateway.ts') },
  worker: { group: 'processes', summary: "Run this node's worker", load: () => import('./verbs/worker.ts') },
  controller: { group: 'processes', summary: 'Run one controller', load: () => import('./verbs/controller.ts') },
  builder: { group: 'processes', summary: 'Run one builder', load: () => import('./verbs/builder.ts') },
};

export function findVerb(name: string): { name: string; load: () => Promise<Verb> } {
  const found = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (found) return { name, load: async () => (await found.load()).verb };
  const near = nearest(name, Object.keys(VERBS));
  throw new FnError('usage.invalid', `there is no verb "${name}"`, {
    hint: near ? `Did you mean "fn ${near}"? "fn help" lists all of them.` : 'See "fn help".',
  });
}
