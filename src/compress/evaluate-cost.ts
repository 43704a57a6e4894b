/**
 * Load time, latency and peak memory of a model, measured in a process of its own (evaluate-cost-process.ts): memory is honest there,
 * and where the engine aborts, as it does on some graphs, the error says so instead of ending the caller.
 */

import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { WhittleError } from '../errors.ts';
import type { RuntimeTensor } from '../runtime/runtime.ts';
import type { CostAnswer, CostRequest, ModelCost } from '../verify/evaluate/cost-messages.ts';

export interface CostOptions {
  /** Default onnxruntime-node. */
  readonly runtime?: CostRequest['runtime'] | undefined;
  readonly threads?: number | undefined;
  /** Timed runs, at least; the median counts. Default 5. */
  readonly runs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The built program; of a run from sources, that of the last build where there is one. */
export function costProcess(): string | undefined {
  const here = fileURLToPath(new URL('./evaluate-cost-process.js', import.meta.url));
  if (existsSync(here)) return here;
  const built = fileURLToPath(new URL('../../dist/compress/evaluate-cost-process.js', import.meta.url));
  return existsSync(built) ? built : undefined;
}

/**
 * @param inputs One run's, by name.
 * @throws WhittleError E_RUNTIME where the engine refuses or ends the process, E_MISSING_PEER, E_USAGE where inputs do not fit,
 *   E_ABORTED, E_UNSUPPORTED where this program is not built
 */
export async function measureCost(
  file: string,
  inputs: ReadonlyMap<string, RuntimeTensor>,
  options: CostOptions = {},
): Promise<ModelCost> {
  const program = costProcess();
  if (program === undefined) {
    throw new WhittleError('E_UNSUPPORTED', 'time and memory are measured by the built program only', {
      file,
      hint: 'Run npm run build.',
    });
  }
  const { signal, threads, runs = 5, runtime = 'onnxruntime-node' } = options;
  if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
  const request: CostRequest = {
    file,
    runtime,
    threads,
    runs,
    // Inputs that the model does not have are no cost to send.
    inputs: [...inputs].map(([name, tensor]) => ({ name, ...tensor })),
  };
  const answer = await ask(program, request, signal);
  if (answer.kind === 'cost') return answer.cost;
  const { code, message, expected, found, hint } = answer;
  throw new WhittleError(code ?? 'E_RUNTIME', message, { file, expected, found, hint });
}

function ask(program: string, request: CostRequest, signal: AbortSignal | undefined): Promise<CostAnswer> {
  return new Promise((resolve, reject) => {
    // Flags of this process are not the other's: a debugger or --input-type would break it.
    const child = fork(program, [], {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let answer: CostAnswer | undefined;
    let words = '';
    const stop = (): void => {
      child.kill('SIGKILL');
    };
    signal?.addEventListener('abort', stop, { once: true });
    child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
      words = (words + piece).slice(-2000);
    });
    child.on('message', (message: CostAnswer) => {
      answer = message;
    });
    child.on('error', (cause) => {
      signal?.removeEventListener('abort', stop);
      reject(
        new WhittleError('E_RUNTIME', 'the process that runs the model does not start', {
          file: request.file,
          cause,
        }),
      );
    });
    child.on('close', (code, killedBy) => {
      signal?.removeEventListener('abort', stop);
      if (signal?.aborted) reject(new WhittleError('E_ABORTED', 'stopped'));
      else if (answer !== undefined) resolve(answer);
      else {
        reject(
          new WhittleError('E_RUNTIME', `${request.runtime} ended its process while it ran the model`, {
            file: request.file,
            found: [killedBy === null ? `exit code ${code}` : killedBy, words.trim()]
              .filter(Boolean)
              .join(': '),
            hint: killedBy === 'SIGKILL' ? 'Memory may have run out.' : 'The engine cannot run this model.',
          }),
        );
      }
    });
    child.send(request, (error) => {
      if (error !== null) stop();
    });
  });
}
