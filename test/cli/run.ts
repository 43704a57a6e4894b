/**
 * Runs the command line: `run` in this process, from the sources, on streams of its own (fast); `whittle` as users do, the
 * built one in a process of its own.
 */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runCommandLine } from '../../src/cli/run.ts';

export const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
export const BUILT = existsSync(MAIN);
export const NOT_BUILT = 'dist/cli/main.js is missing: run npm run build first';

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One run in this process. */
export async function run(
  args: readonly string[],
  settings: { env?: Readonly<Record<string, string>>; columns?: number } = {},
): Promise<Outcome> {
  const text = { stdout: '', stderr: '' };
  const stream = (name: keyof typeof text) => ({
    ...(settings.columns === undefined ? {} : { isTTY: true, columns: settings.columns }),
    write: (part: string) => {
      text[name] += part;
    },
  });
  const code = await runCommandLine(args, {
    stdout: stream('stdout'),
    stderr: stream('stderr'),
    environment: settings.env ?? {},
    version: '0.0.0-test',
    signal: new AbortController().signal,
    stoppedWith: () => undefined,
  });
  return { code, ...text };
}

export interface RunSettings {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Nobody reads what it prints. */
  readonly closeStdout?: boolean;
  /** Called when the child has written to stderr for the first time. */
  readonly onFirstOutput?: (child: ReturnType<typeof spawn>) => void;
  /** Called once, when what the child has written to stderr matches. */
  readonly onOutput?: { readonly like: RegExp; readonly act: (child: ReturnType<typeof spawn>) => void };
}

export function whittle(args: readonly string[], settings: RunSettings = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...args], {
      cwd: settings.cwd,
      env: { ...process.env, NO_COLOR: '1', WHITTLE_DEBUG: '', ...settings.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      if (stderr === '') settings.onFirstOutput?.(child);
      const before = stderr;
      stderr += text;
      const { onOutput } = settings;
      if (onOutput?.like.test(stderr) === true && !onOutput.like.test(before)) onOutput.act(child);
    });
    if (settings.closeStdout === true) child.stdout.destroy();
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}
