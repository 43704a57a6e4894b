#!/usr/bin/env node
/**
 * The entry of the command line: signals, broken pipes and the exit code around one run (run.ts). `--version` answers before
 * anything is imported.
 *
 * Ctrl-C once: the work is told to stop, cleans up after itself, and the program exits with 130. Twice: it exits at once.
 */

import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';

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
  const stop = new AbortController();
  let stoppedWith: number | undefined;
  const onSignal = (exitCode: number) => () => {
    if (stoppedWith !== undefined) process.exit(stoppedWith);
    stoppedWith = exitCode;
    stop.abort();
  };
  process.on('SIGINT', onSignal(130));
  process.on('SIGTERM', onSignal(143));

  const { runCommandLine } = await import('./run.ts');
  return runCommandLine(words, {
    stdout: process.stdout,
    stderr: process.stderr,
    environment: process.env,
    version: version(),
    signal: stop.signal,
    stoppedWith: () => stoppedWith,
  });
}

// Whoever reads our output may stop reading (`| head`): the work goes on, quietly.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    if (stream === process.stdout)
      process.stderr.write(`E_IO: the output cannot be written: ${error.message}\n`);
    process.exit(5);
  });
}

// onnxruntime-node 1.30 on Linux reports its use to its makers unless told not to, and leaves a log of that in the temporary folder
// for each process. Who runs whittle has not asked for either; a value that is set already stands.
process.env.ORT_DISABLE_TELEMETRY ??= '1';

// The kernels' module is small and every run is short: compile all of it well at once instead of starting with slow code and
// replacing it while the work goes on (a quarter of the time of a 512 MiB run). For this program only, never for a library user.
setFlagsFromString('--no-wasm-dynamic-tiering');

process.exitCode = await main(process.argv.slice(2));
// A runtime's threads may outlive its sessions: they must not keep a finished program alive.
setTimeout(() => process.exit(), 1000).unref();
