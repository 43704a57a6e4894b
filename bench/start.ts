/** Start-up time of the command line: `whittle --version` beside an empty `node -e 0`, medians of alternating runs. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { median } from './statistics.ts';

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface StartResult {
  readonly versionMs: number;
  readonly nodeMs: number;
  readonly ratio: number;
}

export function benchStart(runs = 15): StartResult {
  const version: number[] = [];
  const node: number[] = [];
  for (let i = 0; i < runs; i++) {
    version.push(time([MAIN, '--version']));
    node.push(time(['-e', '0']));
  }
  return { versionMs: median(version), nodeMs: median(node), ratio: median(version) / median(node) };
}

function time(args: string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${args.join(' ')} failed: ${stderr}`);
  return performance.now() - start;
}
