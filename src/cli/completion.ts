/**
 * `whittle completion`: scripts for bash, zsh and fish, written from the grammar of the command line, so that they cannot name
 * what does not exist. They are static: pressing TAB starts no program. Words that are neither flags nor modes or types complete as
 * file names, since models are files.
 */

import type { Command, Option } from 'commander';
import { WEIGHT_TYPES } from '../planning/gguf/check-options.ts';
import { FILE_TYPE_WORDS } from '../planning/gguf/file-types.ts';
import { DATA_MODE_NAMES, MODE_NAMES } from '../planning/presets.ts';
import { TARGET_NAMES } from '../planning/targets.ts';
import type { Context } from './context.ts';

interface FlagWords {
  readonly names: readonly string[];
  readonly description: string;
  readonly takesValue: boolean;
  /** Closed list of values; empty: file names. */
  readonly values: readonly string[];
  /** Several values may stand in one word, separated by commas. */
  readonly list: boolean;
}

interface CommandWords {
  readonly name: string;
  /** The name and its aliases. */
  readonly names: readonly string[];
  readonly summary: string;
  readonly flags: readonly FlagWords[];
  /** Values of the first argument; empty: file names. */
  readonly values: readonly string[];
}

export async function runCompletion(context: Context, shell: string, program: Command): Promise<undefined> {
  const commands = program.commands.map((command) => commandWords(command, program));
  context.print(script(shell, commands));
  return undefined;
}

function commandWords(command: Command, program: Command): CommandWords {
  const own = command.options.map(flagWords);
  const shared = program.options.filter(({ long }) => long !== '--version').map(flagWords);
  const help: FlagWords = {
    names: ['-h', '--help'],
    description: 'show help',
    takesValue: false,
    values: [],
    list: false,
  };
  const choices = command.registeredArguments[0]?.argChoices ?? FIRST_WORDS[command.name()] ?? [];
  return {
    names: [command.name(), ...command.aliases()],
    name: command.name(),
    summary: command.summary(),
    flags: [...own, ...shared, help],
    values: choices,
  };
}

/** What the first argument of a command may be, where the grammar leaves it open. */
const FIRST_WORDS: Readonly<Record<string, readonly string[]>> = {
  modes: [...MODE_NAMES, ...DATA_MODE_NAMES],
  types: [...FILE_TYPE_WORDS, ...WEIGHT_TYPES],
};

/** Values of flags that are checked when the command runs. */
const FLAG_VALUES: Readonly<Record<string, readonly string[]>> = {
  '--target': TARGET_NAMES,
  '--output-tensor-type': WEIGHT_TYPES,
  '--token-embedding-type': WEIGHT_TYPES,
};

function flagWords(option: Option): FlagWords {
  const takesValue = option.required || option.optional;
  const values = option.argChoices ?? FLAG_VALUES[option.long ?? ''] ?? [];
  const modes = option.long === '--to' && option.argChoices === undefined;
  return {
    names: [option.short, option.long].filter((name) => name !== undefined),
    description: option.description,
    takesValue,
    values: modes ? [...MODE_NAMES, ...DATA_MODE_NAMES, ...FILE_TYPE_WORDS] : values,
    list: modes || option.long === '--target',
  };
}

function script(shell: string, commands: readonly CommandWords[]): string {
  if (shell === 'zsh') return zsh(commands);
  return shell === 'fish' ? fish(commands) : bash(commands);
}

/** Single-quoted for all three shells; descriptions hold no single quotes of their own that matter. */
function quote(text: string): string {
  return `'${text.replace(/'/g, '’')}'`;
}

function bash(commands: readonly CommandWords[]): string {
  const cases = commands.map(({ names, flags, values }) => {
    const valued = flags.filter(({ takesValue }) => takesValue);
    const patterns = valued.map(
      (flag) =>
        `        ${flag.names.join('|')}) ${flag.values.length === 0 ? '_whittle_files' : `${flag.list ? '_whittle_list' : '_whittle_words'} ${quote(flag.values.join(' '))}`}; return ;;`,
    );
    return [
      `    ${names.join('|')})`,
      '      case "$prev" in',
      ...patterns,
      '      esac',
      `      if [[ $cur == -* ]]; then _whittle_words ${quote(flags.flatMap(({ names }) => names).join(' '))}`,
      `      else ${values.length === 0 ? '_whittle_files' : `_whittle_words ${quote(values.join(' '))}`}; fi ;;`,
    ].join('\n');
  });
  return `# whittle completion for bash: source <(whittle completion bash)
_whittle_words() { COMPREPLY=($(compgen -W "$1" -- "$cur")); }
_whittle_files() { compopt -o filenames 2>/dev/null; COMPREPLY=(); local file; while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$cur"); }
_whittle_list() {
  local done= last=$cur word
  if [[ $cur == *,* ]]; then done=\${cur%,*},; last=\${cur##*,}; fi
  COMPREPLY=()
  for word in $(compgen -W "$1" -- "$last"); do COMPREPLY+=("$done$word"); done
  compopt -o nospace 2>/dev/null
}
_whittle() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} command= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ \${COMP_WORDS[i]} != -* ]]; then command=\${COMP_WORDS[i]}; break; fi
  done
  COMPREPLY=()
  case "$command" in
    '') if [[ $cur == -* ]]; then _whittle_words '--help --version --json --quiet --verbose --color'; else _whittle_words ${quote(commands.map(({ name }) => name).join(' '))}; fi ;;
${cases.join('\n')}
  esac
}
complete -F _whittle whittle`;
}

function zsh(commands: readonly CommandWords[]): string {
  const escaped = (text: string): string => text.replace(/[[\]:\\]/g, '\\$&');
  const cases = commands.map(({ names, flags, values }) => {
    const specs = flags.map((flag) => {
      const action = !flag.takesValue
        ? ''
        : flag.values.length === 0
          ? ':value:_files'
          : flag.list
            ? `:value:_values -s , value ${flag.values.join(' ')}`
            : `:value:(${flag.values.join(' ')})`;
      const [first = '', second] = flag.names;
      const text = `[${escaped(flag.description)}]${action}`;
      return second === undefined
        ? `        ${quote(`*${first}${text}`)}`
        : `        '*'{${first},${second}}${quote(text)}`;
    });
    const rest = values.length === 0 ? '*:file:_files' : `1:value:(${values.join(' ')})`;
    return `      ${names.join('|')}) _arguments \\\n${specs.join(' \\\n')} \\\n        ${quote(rest)} ;;`;
  });
  const list = commands
    .map(({ name, summary }) => `      ${quote(`${name}:${escaped(summary)}`)}`)
    .join('\n');
  return `#compdef whittle
# whittle completion for zsh: source <(whittle completion zsh), after compinit
_whittle() {
  local -a commands
  if (( CURRENT == 2 )); then
    commands=(
${list}
    )
    _describe command commands
    return
  fi
  local command=$words[2]
  words=("\${(@)words[2,-1]}")
  (( CURRENT-- ))
  case $command in
${cases.join('\n')}
  esac
}
compdef _whittle whittle`;
}

function fish(commands: readonly CommandWords[]): string {
  const lines = [
    '# whittle completion for fish: whittle completion fish > ~/.config/fish/completions/whittle.fish',
  ];
  for (const { name, summary } of commands) {
    lines.push(`complete -c whittle -n __fish_use_subcommand -f -a ${name} -d ${quote(summary)}`);
  }
  for (const { names, flags, values } of commands) {
    const when = `-n '__fish_seen_subcommand_from ${names.join(' ')}'`;
    if (values.length > 0) lines.push(`complete -c whittle ${when} -f -a ${quote(values.join(' '))}`);
    for (const flag of flags) {
      const names = flag.names.map((word) =>
        word.startsWith('--') ? `-l ${word.slice(2)}` : `-s ${word.slice(1)}`,
      );
      const words = flag.list ? `(__fish_append , ${flag.values.join(' ')})` : flag.values.join(' ');
      const value = !flag.takesValue ? '' : flag.values.length === 0 ? ' -r -F' : ` -x -a ${quote(words)}`;
      lines.push(`complete -c whittle ${when} ${names.join(' ')}${value} -d ${quote(flag.description)}`);
    }
  }
  return lines.join('\n');
}
