/**
 * One run of the command line from words to exit code, on any pair of streams: what main.ts does with the process's own, and
 * tests with theirs. Every error ends here: as facts for people on stderr, or as JSON on stdout.
 */

import { CommanderError } from 'commander';
import { EXIT, isWhittleError, WhittleError } from '../errors.ts';
import { createStyle, wantsColor } from '../report/style.ts';
import { createContext, type Streams } from './context.ts';
import { describeFailure } from './failure.ts';
import { createProgram } from './program.ts';

export interface RunSettings extends Streams {
  readonly version: string;
  readonly signal: AbortSignal;
  /** Exit code that the signal asks for, once it has fired. */
  readonly stoppedWith: () => number | undefined;
}

/** Never throws. */
export async function runCommandLine(words: readonly string[], settings: RunSettings): Promise<number> {
  const { stdout, stderr, environment, signal } = settings;
  let exitCode: number = EXIT.ok;
  const program = createProgram({
    version: settings.version,
    streams: settings,
    context: (flags) => createContext(flags, settings, signal),
    setExitCode: (code) => {
      exitCode = code;
    },
  });
  try {
    if (words.length === 0) {
      program.outputHelp({ error: true });
      return EXIT.usage;
    }
    await program.parseAsync([...words], { from: 'user' });
    return settings.stoppedWith() ?? exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
    const json = words.includes('--json');
    const style = createStyle(wantsColor(colorWord(words), stderr.isTTY === true, environment));
    const failure = describeFailure(
      error instanceof CommanderError ? usageError(error.message) : error,
      style,
      (environment.WHITTLE_DEBUG ?? '') !== '',
    );
    // What is left of a progress line.
    if (stderr.isTTY === true) stderr.write('\r\u001b[2K');
    const stoppedWith = failure.json.error.code === 'E_ABORTED' ? settings.stoppedWith() : undefined;
    const code = stoppedWith ?? failure.exitCode;
    if (json)
      stdout.write(`${JSON.stringify({ error: { ...failure.json.error, exitCode: code } }, null, 2)}\n`);
    else if (stoppedWith !== undefined) stderr.write(`${stoppedText(error)}\n`);
    else stderr.write(`${failure.text}\n`);
    return code;
  }
}

/** What a stopped run left, and how to go on. */
function stoppedText(error: unknown): string {
  const hint = isWhittleError(error) ? error.details.hint : undefined;
  return hint?.includes('--resume') === true ? `Stopped. ${hint}` : 'Stopped. Nothing was left behind.';
}

function colorWord(words: readonly string[]): 'auto' | 'always' | 'never' {
  for (const [index, word] of words.entries()) {
    const value = word === '--color' ? words[index + 1] : /^--color=(.*)$/.exec(word)?.[1];
    if (value === 'always' || value === 'never') return value;
  }
  return 'auto';
}

/** The parser's message, its suggestion as the hint. */
function usageError(message: string): WhittleError {
  const text = message.replace(/^error: /, '');
  const suggestion = /\(Did you mean (?:one of )?([^?]+)\?\)/.exec(text);
  return new WhittleError('E_USAGE', text.replace(/\s*\(Did you mean [^)]*\)\s*/, '').trim(), {
    hint: suggestion ? `Did you mean ${suggestion[1]}?` : 'See whittle --help, or --help of the command.',
  });
}
