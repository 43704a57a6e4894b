/** `whittle dequantize`: the model with float weights again. */

import { dequantizeModel } from '../compress/dequantize.ts';
import { modelFormat } from '../compress/model-format.ts';
import { WhittleError } from '../errors.ts';
import { formatBytes, formatDuration, formatRatio } from '../report/format.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';
import { refuseForeignFlags } from './format-flags.ts';

export interface DequantizeFlags {
  readonly output?: string | undefined;
  readonly to: 'f32' | 'f16' | 'bf16';
  readonly force?: boolean | undefined;
  readonly externalData?: 'auto' | 'always' | 'never' | undefined;
  readonly threads?: number | undefined;
}

export async function runDequantize(
  context: Context,
  input: string,
  flags: DequantizeFlags,
  given: readonly string[],
): Promise<undefined> {
  const format = await modelFormat(input);
  refuseForeignFlags(given, format, input);
  if (format === 'gguf') return dequantizeGgufFile(context, input, flags);
  if (flags.to === 'bf16') {
    throw new WhittleError('E_USAGE', 'weights of ONNX models come back as f32 or f16', { found: 'bf16' });
  }
  const report = await dequantizeModel(input, {
    output: flags.output,
    to: flags.to,
    force: flags.force,
    externalData: flags.externalData,
    threads: flags.threads,
    signal: context.signal,
    onProgress: context.progress.onProgress,
  });
  context.progress.clear();
  if (context.json) {
    context.printJson(report);
    return undefined;
  }
  for (const { path, bytes } of report.files) context.print(`${safeName(path)}  ${formatBytes(bytes)}`);
  context.say(
    context.errStyle.dim(
      `${report.tensors.length} weights back to ${flags.to}; ${formatRatio(report.bytes, report.inputBytes)} of the input; done in ${formatDuration(report.seconds)}`,
    ),
  );
  for (const note of report.notes) context.say(context.errStyle.dim(`note: ${safeName(note)}`));
  return undefined;
}

async function dequantizeGgufFile(
  context: Context,
  input: string,
  { output, to, force, threads }: DequantizeFlags,
): Promise<undefined> {
  const { dequantizeGguf } = await import('../compress/gguf/dequantize.ts');
  const { signal, progress } = context;
  const report = await dequantizeGguf(input, {
    output,
    to,
    force,
    threads,
    signal,
    onProgress: progress.onProgress,
  });
  progress.clear();
  if (context.json) {
    context.printJson(report);
    return undefined;
  }
  for (const { files, bytes, tensors } of report.results) {
    for (const { path } of files) context.print(`${safeName(path)}  ${formatBytes(bytes)}`);
    const back = tensors.filter(({ task }) => task !== undefined).length;
    context.say(
      context.errStyle.dim(
        `${back} tensors back to ${to}; ${formatRatio(bytes, report.inputBytes)} of the input; done in ${formatDuration(report.seconds)}`,
      ),
    );
  }
  return undefined;
}
