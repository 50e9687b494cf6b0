/** What a verb is: its flags, its help, and what it does. One file each in cli/verbs/. */

export interface Option {
  readonly type: 'boolean' | 'string';
  readonly short?: string;
  readonly multiple?: boolean;
  /** What stands for the value in help, such as `<duration>`. */
  readonly value?: string;
  readonly help: string;
}
export type Options = Readonly<Record<string, Option>>;

export type Values<O extends Options> = {
  readonly [K in keyof O]?: O[K]['type'] extends 'boolean'
    ? boolean
    : O[K]['multiple'] extends true
      ? string[]
      : string;
} & { readonly json?: boolean };

export interface Input<O extends Options> {
  readonly flags: Values<O>;
  readonly positionals: readonly string[];
}

export interface VerbDefinition<O extends Options> {
  /** What follows `fn <verb>`: `<name>`, `[dir…]`. */
  readonly operands: string;
  /** How many operands it takes. */
  readonly count: { readonly min: number; readonly max: number };
  /** What it does, in a paragraph. */
  readonly help: string;
  readonly options: O;
  /** Commands that work as they stand, and what they do. */
  readonly examples: readonly (readonly [command: string, what: string])[];
  /** Resolves with the exit code; 0 when it returns nothing. */
  run(input: Input<O>): Promise<number | undefined | void>;
}

/** A verb whose flags are no longer known by type: what main.ts works with. */
export type Verb = VerbDefinition<Options>;

export function defineVerb<const O extends Options>(verb: VerbDefinition<O>): Verb {
  return verb;
}

/** Every verb has these two. */
export const COMMON_OPTIONS = {
  json: { type: 'boolean', help: 'Print JSON for programs; errors are problem objects on standard error' },
  help: { type: 'boolean', short: 'h', help: 'Show this help' },
} as const satisfies Options;
