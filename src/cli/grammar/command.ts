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
  run: (context: Context, args: readonly string[], flags: Flags) => Promise<number | undefined>,
): void {
  command.addHelpText('after', examples(lines));
  command.action(async () => {
    const flags = command.optsWithGlobals<Flags>();
    const code = await run(options.context(flags), command.args, flags);
    if (code !== undefined) options.setExitCode(code);
  });
}
