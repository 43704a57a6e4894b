/** `whittle perplexity`: how well GGUF models predict a text, and how far they are from a base model, in llama.cpp. */

import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { isWhittleError, WhittleError } from '../errors.ts';
import { formatBytes, formatDuration } from '../report/format.ts';
import { type Column, renderTable } from '../report/table.ts';
import { safeName } from '../report/text.ts';
import type { LanguageModel } from '../runtime/language-model.ts';
import { llamaCpp } from '../runtime/llama-cpp.ts';
import {
  baseModel,
  DEFAULT_CONTEXT,
  measurePerplexity,
  type PerplexityReport,
} from '../verify/perplexity.ts';
import type { Context } from './context.ts';

export interface PerplexityFlags {
  readonly text: string;
  readonly base?: string | undefined;
  readonly context?: number | undefined;
  readonly chunks?: number | undefined;
  readonly threads?: number | undefined;
  readonly gpuLayers?: number | undefined;
  readonly maxKl?: number | undefined;
}

const COLUMNS: readonly Column[] = [
  { title: 'model', min: 16 },
  { title: 'size', align: 'right', drop: 2 },
  { title: 'perplexity', align: 'right' },
  { title: '±', align: 'right', drop: 3 },
];

const BASE_COLUMNS: readonly Column[] = [
  { title: 'ln ratio', align: 'right', drop: 4 },
  { title: 'KL divergence', align: 'right' },
  { title: '99 %', align: 'right', drop: 5 },
  { title: 'same top', align: 'right' },
  { title: 'RMS Δp', align: 'right', drop: 1 },
];

export async function runPerplexity(
  context: Context,
  files: readonly string[],
  flags: PerplexityFlags,
): Promise<number | undefined> {
  if (flags.maxKl !== undefined && flags.base === undefined) {
    throw new WhittleError('E_USAGE', '--max-kl needs a model to compare with', {
      hint: 'Name it with --base.',
    });
  }
  const started = performance.now();
  const text = await readText(flags.text);
  const runtime = llamaCpp();
  const size = flags.context ?? DEFAULT_CONTEXT;
  const options = { context: size, threads: flags.threads, gpuLayers: flags.gpuLayers };
  const base = flags.base === undefined ? undefined : baseModel(await runtime.load(flags.base, options));
  const reports: (PerplexityReport & { readonly bytes: number })[] = [];
  try {
    for (const file of files) {
      const { size: bytes } = await statOf(file);
      const model: LanguageModel = await runtime.load(file, options);
      try {
        const report = await measurePerplexity(
          model,
          text,
          {
            context: size,
            chunks: flags.chunks,
            signal: context.signal,
            onChunk: (done, total, perplexity) =>
              context.progress.status(
                `${safeName(basename(file))}: window ${done} of ${total}, perplexity ${perplexity.toFixed(3)}`,
              ),
          },
          base,
        );
        reports.push({ ...report, bytes });
      } finally {
        await model.close();
      }
    }
  } finally {
    await base?.model.close();
  }
  context.progress.clear();
  const tooFar = reports.find(
    ({ divergence }) => flags.maxKl !== undefined && !((divergence?.mean ?? Number.NaN) <= flags.maxKl),
  );
  if (context.json) {
    context.printJson({
      runtime: `${runtime.name} ${await runtime.version()}`,
      text: flags.text,
      models: reports,
      seconds: (performance.now() - started) / 1000,
    });
  } else {
    print(context, reports, flags.base);
    const [first] = reports;
    if (first !== undefined) {
      context.say(
        context.errStyle.dim(
          `${first.chunks} windows of ${first.context} tokens, ${first.tokens} scored, in ${runtime.name} ${await runtime.version()}; done in ${formatDuration((performance.now() - started) / 1000)}`,
        ),
      );
    }
  }
  if (tooFar !== undefined) {
    throw new WhittleError('E_VERIFICATION', 'a model is too far from its base', {
      file: tooFar.file,
      expected: `a KL divergence of at most ${flags.maxKl}`,
      found: tooFar.divergence?.mean.toFixed(6),
      hint: 'Quantize with more bits, or with an importance matrix.',
    });
  }
  return undefined;
}

function print(
  context: Context,
  reports: readonly (PerplexityReport & { readonly bytes: number })[],
  base: string | undefined,
): void {
  const rows = reports.map(({ file, bytes, perplexity, error, divergence }) => [
    safeName(basename(file)),
    formatBytes(bytes),
    perplexity.toFixed(4),
    error.toFixed(4),
    ...(divergence === undefined
      ? []
      : [
          divergence.logRatio.toFixed(5),
          `${divergence.mean.toFixed(6)} ± ${divergence.meanError.toFixed(6)}`,
          divergence.percentile99.toFixed(5),
          `${(divergence.sameTop * 100).toFixed(2)} ± ${(divergence.sameTopError * 100).toFixed(2)} %`,
          `${(divergence.rmsProbabilityChange * 100).toFixed(2)} %`,
        ]),
  ]);
  const columns = base === undefined ? COLUMNS : [...COLUMNS, ...BASE_COLUMNS];
  const [first] = reports;
  if (base !== undefined && first?.divergence !== undefined) {
    rows.unshift([
      `base: ${safeName(basename(base))}`,
      '',
      first.divergence.basePerplexity.toFixed(4),
      '',
      '',
      '',
      '',
      '',
      '',
    ]);
  }
  context.print(renderTable(columns, rows, { width: context.width, style: context.style }));
}

async function readText(path: string): Promise<string> {
  await statOf(path);
  const text = await readFile(path, 'utf8');
  if (text.trim() === '') throw new WhittleError('E_EMPTY', 'the text is empty', { file: path });
  return text;
}

async function statOf(path: string) {
  try {
    return await stat(path);
  } catch (cause) {
    if (isWhittleError(cause)) throw cause;
    throw new WhittleError('E_NOT_FOUND', 'no such file', { file: path, cause });
  }
}
