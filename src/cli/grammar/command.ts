/** What the grammar of every command shares: what its action needs, its examples, and how it is run. */

import type { Command } from 'commander';
import type { Context, Streams } from '../context.ts';

/** What an action needs that the words do not say. */
export interface ProgramOptions {
  readonly version: string;
  /** Where help is printed. */
  readonly streams: Streams;
  /** Makes the context from the flags, once they are parsed. */
  readonly context: (flags: object) => Context;
  /** Exit code of the command that ran, where it is not 0. */
  readonly setExitCode: (code: number) => void;
}

export function examples(lines: readonly (readonly [command: string, meaning: string])[]): string {
  const width = Math.max(...lines.map(([command]) => command.length));
  return `\nExamples:\n${lines.map(([command, meaning]) => `  ${command.padEnd(width)}  ${meaning}`).join('\n')}`;
}

/** Adds the help every command shares and wires its action: flags of the command and of the program in one object. */
export function finish<Flags extends object>(
  command: Command,
  options: ProgramOptions,
  lines: readonly (readonly [string, string])[],
  run: (
    context: Context,
    args: readonly string[],
    flags: Flags,
    given: readonly string[],
  ) => Promise<number | undefined>,
): void {
  command.addHelpText('after', examples(lines));
  command.action(async () => {
    const flags = command.optsWithGlobals<Flags>();
    const code = await run(options.context(flags), command.args, flags, givenFlags(command));
    if (code !== undefined) options.setExitCode(code);
  });
}

/** Flags of the command itself that stand on the command line, by their long names. */
function givenFlags(command: Command): string[] {
  return command.options.flatMap((option) => {
    const name = option.attributeName();
    if (option.long === undefined || option.long === null) return [];
    if (command.getOptionValueSource(name) !== 'cli') return [];
    // --measure and --no-measure share one value.
    const says = option.negate === (command.getOptionValue(name) === false);
    return says ? [option.long] : [];
  });
}
