/** `whittle dequantize`: the model with float weights again. */

import { dequantizeModel } from '../compress/dequantize.ts';
import { formatBytes, formatDuration, formatRatio } from '../report/format.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';

export interface DequantizeFlags {
  readonly output?: string | undefined;
  readonly to: 'f32' | 'f16';
  readonly force?: boolean | undefined;
  readonly externalData?: 'auto' | 'always' | 'never' | undefined;
  readonly threads?: number | undefined;
}

export async function runDequantize(
  context: Context,
  input: string,
  flags: DequantizeFlags,
): Promise<undefined> {
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
