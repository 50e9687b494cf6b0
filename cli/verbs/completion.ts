/** `fn completion`: scripts that complete verbs, flags, and the names of functions, made from the table of verbs. */

import { FnError } from '../../core/errors.ts';
import { COMMON_OPTIONS, defineVerb, type Options, type Verb } from '../verb.ts';
import { VERBS } from '../verbs.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
/** Verbs whose operands are functions that exist. */
const TAKES_NAMES = ['invoke', 'inspect', 'logs', 'rm'];
const TAKES_DIRECTORIES = ['deploy', 'init'];

interface Described {
  readonly name: string;
  readonly summary: string;
  readonly flags: readonly {
    readonly name: string;
    readonly short?: string;
    readonly help: string;
    readonly value: boolean;
  }[];
}

export const verb = defineVerb({
  operands: '<bash|zsh|fish>',
  count: { min: 1, max: 1 },
  help: 'Prints a script that completes verbs, flags and the names of functions.',
  options: {},
  examples: [
    ['source <(fn completion bash)', 'In this bash; add the line to ~/.bashrc to keep it'],
    ['fn completion zsh > "${fpath[1]}/_fn"', 'For zsh, once'],
    ['fn completion fish > ~/.config/fish/completions/fn.fish', 'For fish, once'],
  ],
  async run({ positionals: [shell = ''] }) {
    const verbs = await Promise.all(
      Object.entries(VERBS).map(async ([name, { summary, load }]) => describeVerb(name, summary, (await load()).verb)),
    );
    switch (shell) {
      case 'bash':
        return console.log(bash(verbs));
      case 'zsh':
        return console.log(zsh(verbs));
      case 'fish':
        return console.log(fish(verbs));
      default:
        throw new FnError('usage.invalid', `there is no completion for "${shell}"`, {
          hint: `One of ${SHELLS.join(', ')}.`,
        });
    }
  },
});

function describeVerb(name: string, summary: string, { options }: Verb): Described {
  const all: Options = { ...options, ...COMMON_OPTIONS };
  const flags = Object.entries(all).map(([flag, { type, short, help }]) => ({
    name: flag,
    help,
    value: type === 'string',
    ...(short !== undefined && { short }),
  }));
  return { name, summary, flags };
}

function bash(verbs: readonly Described[]): string {
  const cases = verbs.map(
    ({ name, flags }) => `    ${name}) flags="${flags.map((flag) => `--${flag.name}`).join(' ')}" ;;`,
  );
  return `# fn completion for bash
_fn() {
  local word=\${COMP_WORDS[COMP_CWORD]} verb=\${COMP_WORDS[1]} flags=
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${verbs.map(({ name }) => name).join(' ')}" -- "$word"))
    return
  fi
  case $verb in
${cases.join('\n')}
  esac
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
    return
  fi
  case $verb in
    ${TAKES_NAMES.join('|')}) COMPREPLY=($(compgen -W "$(fn ls --quiet 2>/dev/null)" -- "$word")) ;;
    ${TAKES_DIRECTORIES.join('|')}) COMPREPLY=($(compgen -d -- "$word")) ;;
  esac
}
complete -F _fn fn`;
}

function zsh(verbs: readonly Described[]): string {
  const quote = (text: string): string => text.replaceAll("'", "'\\''").replaceAll(/[[\]:]/g, '\\$&');
  const list = verbs.map(({ name, summary }) => `    '${name}:${quote(summary)}'`);
  const cases = verbs.map(({ name, flags }) => {
    const specs = flags.map((flag) => `'--${flag.name}[${quote(flag.help)}]${flag.value ? ':value:_files' : ''}'`);
    const operands = TAKES_NAMES.includes(name)
      ? ` '*:function:($(fn ls --quiet 2>/dev/null))'`
      : TAKES_DIRECTORIES.includes(name)
        ? ` '*:directory:_files -/'`
        : '';
    return `    ${name}) _arguments ${specs.join(' ')}${operands} ;;`;
  });
  return `#compdef fn
# fn completion for zsh
_fn() {
  local -a verbs
  verbs=(
${list.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
${cases.join('\n')}
  esac
}
compdef _fn fn`;
}

function fish(verbs: readonly Described[]): string {
  const quote = (text: string): string => `'${text.replaceAll(/['\\]/g, '\\$&')}'`;
  const lines = ['# fn completion for fish', 'complete -c fn -f'];
  for (const { name, summary, flags } of verbs) {
    lines.push(`complete -c fn -n __fish_use_subcommand -a ${name} -d ${quote(summary)}`);
    const here = `complete -c fn -n '__fish_seen_subcommand_from ${name}'`;
    for (const flag of flags) {
      const short = flag.short === undefined ? '' : ` -s ${flag.short}`;
      lines.push(`${here} -l ${flag.name}${short}${flag.value ? ' -r' : ''} -d ${quote(flag.help)}`);
    }
    if (TAKES_NAMES.includes(name)) lines.push(`${here} -a '(fn ls --quiet 2>/dev/null)'`);
    if (TAKES_DIRECTORIES.includes(name)) lines.push(`${here} -a '(__fish_complete_directories)'`);
  }
  return lines.join('\n');
}
