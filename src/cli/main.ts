#!/usr/bin/env node
/**
 * The entry of the command line: signals, broken pipes, errors and exit codes. `--version` answers before anything is
 * imported; everything else goes through the grammar of program.ts.
 *
 * Ctrl-C once: the work is told to stop, cleans up after itself, and the program exits with 130. Twice: it exits at once.
 */

import { readFileSync } from 'node:fs';

function version(): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  );
  return manifest.version;
}

async function main(words: readonly string[]): Promise<number> {
  if (words.length === 1 && (words[0] === '--version' || words[0] === '-V')) {
    process.stdout.write(`${version()}\n`);
    return 0;
  }
  const [
    { createProgram },
    { createContext },
    { CommanderError },
    { describeFailure },
    { createStyle, wantsColor },
    errors,
  ] = await Promise.all([
    import('./program.ts'),
    import('./context.ts'),
    import('commander'),
    import('./failure.ts'),
    import('../report/style.ts'),
    import('../errors.ts'),
  ]);
  const stop = new AbortController();
  let stoppedWith: number | undefined;
  const onSignal = (exitCode: number) => () => {
    if (stoppedWith !== undefined) process.exit(stoppedWith);
    stoppedWith = exitCode;
    stop.abort();
  };
  process.on('SIGINT', onSignal(130));
  process.on('SIGTERM', onSignal(143));

  let exitCode = 0;
  const program = createProgram({
    version: version(),
    context: (flags) => createContext(flags, stop.signal),
    setExitCode: (code) => {
      exitCode = code;
    },
  });
  try {
    if (words.length === 0) {
      program.outputHelp({ error: true });
      return errors.EXIT.usage;
    }
    await program.parseAsync([...words], { from: 'user' });
    return stoppedWith ?? exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const json = words.includes('--json');
    const style = createStyle(
      wantsColor('auto', process.stderr.isTTY === true && !words.includes('never'), process.env),
    );
    const failure = describeFailure(
      error instanceof CommanderError ? usageError(error.message) : error,
      style,
      (process.env.WHITTLE_DEBUG ?? '') !== '',
    );
    if (process.stderr.isTTY === true) process.stderr.write('\r\u001b[2K');
    if (stoppedWith !== undefined && failure.json.error.code === 'E_ABORTED') {
      if (json)
        process.stdout.write(
          `${JSON.stringify({ error: { ...failure.json.error, exitCode: stoppedWith } })}\n`,
        );
      else process.stderr.write('Stopped. Nothing was left behind.\n');
      return stoppedWith;
    }
    if (json) process.stdout.write(`${JSON.stringify(failure.json, null, 2)}\n`);
    else process.stderr.write(`${failure.text}\n`);
    return failure.exitCode;
  }

  /** The parser's message, its suggestion as the hint. */
  function usageError(message: string): unknown {
    const text = message.replace(/^error: /, '');
    const suggestion = /\(Did you mean (?:one of )?([^?]+)\?\)/.exec(text);
    return new errors.WhittleError('E_USAGE', text.replace(/\s*\(Did you mean [^)]*\)\s*/, '').trim(), {
      hint: suggestion ? `Did you mean ${suggestion[1]}?` : 'See whittle --help, or --help of the command.',
    });
  }
}

// Whoever reads our output may stop reading (`| head`): the work goes on, quietly.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

process.exitCode = await main(process.argv.slice(2));
// A runtime's threads may outlive its sessions: they must not keep a finished program alive.
setTimeout(() => process.exit(), 1000).unref();
