/**
 * The process in which one model is loaded and timed: what it takes of memory is the model's and the engine's alone, and an
 * engine that aborts ends this process only. It gets one request, answers it and ends.
 */

import { readFileSync } from 'node:fs';
import { WhittleError } from '../errors.ts';
import { onnxruntimeNode } from '../runtime/onnxruntime-node.ts';
import { onnxruntimeWeb } from '../runtime/onnxruntime-web.ts';
import type { CostAnswer, CostRequest, ModelCost } from '../verify/evaluate/cost-messages.ts';
import { median } from '../verify/evaluate/median.ts';
import { feedsOf } from '../verify/evaluate/same-interface.ts';

/** A model that needs 0.1 ms is timed more often than asked, one that needs seconds less often. */
const MIN_TIMED_MS = 100;
const MAX_TIMED_MS = 4000;
const MAX_RUNS = 1000;

async function measure(request: CostRequest): Promise<ModelCost> {
  const { file, threads, runs } = request;
  const runtime = request.runtime === 'onnxruntime-web' ? onnxruntimeWeb() : onnxruntimeNode();
  const runtimeVersion = await runtime.version();
  const engineBytes = process.memoryUsage.rss();
  const started = performance.now();
  const session = await runtime.load(file, { threads });
  const loadMs = performance.now() - started;
  const inputs = new Map(request.inputs.map(({ name, ...tensor }) => [name, tensor]));
  const feeds = feedsOf(session.inputs, { inputs }, file);
  await session.run(feeds);
  const times: number[] = [];
  const start = performance.now();
  for (;;) {
    const before = performance.now();
    await session.run(feeds);
    const now = performance.now();
    times.push(now - before);
    const elapsed = now - start;
    if (times.length >= MAX_RUNS || elapsed > MAX_TIMED_MS) break;
    if (times.length >= runs && elapsed >= MIN_TIMED_MS) break;
  }
  const peakBytes = Math.max(peakMemory(), engineBytes);
  await session.close();
  return {
    runtime: runtime.name,
    runtimeVersion,
    loadMs,
    runMs: median(times),
    runs: times.length,
    peakBytes,
    engineBytes,
  };
}

/**
 * Highest resident memory so far, bytes. Linux carries the maximum of the parent over into `ru_maxrss` of a child that it
 * makes by vfork; VmHWM is this process's own.
 */
function peakMemory(): number {
  try {
    const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (kibibytes !== undefined) return Number(kibibytes) * 1024;
  } catch {
    // Not Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}

function failed(error: unknown): CostAnswer {
  const { expected, found, hint } = error instanceof WhittleError ? error.details : {};
  return {
    kind: 'failed',
    code: error instanceof WhittleError ? error.code : undefined,
    message: error instanceof Error ? error.message : String(error),
    expected,
    found,
    hint,
  };
}

process.once('message', (request: CostRequest) => {
  measure(request)
    .then((cost): CostAnswer => ({ kind: 'cost', cost }), failed)
    .then((answer) => process.send?.(answer, () => process.disconnect()));
});
