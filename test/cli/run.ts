/** Runs the built command line as users do, in a process of its own. */

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
export const BUILT = existsSync(MAIN);
export const NOT_BUILT = 'dist/cli/main.js is missing: run npm run build first';

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunSettings {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Called with the child and everything it has written so far, on every write. */
  readonly onOutput?: (child: ReturnType<typeof spawn>, stderr: string) => void;
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
      stderr += text;
      settings.onOutput?.(child, stderr);
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}
