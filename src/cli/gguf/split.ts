/** `whittle split` and `whittle merge`: a GGUF model in parts, and whole again. */

import { mergeModel, type PartsReport, splitModel } from '../../compress/gguf/split.ts';
import { counted, formatBytes, formatDuration } from '../../report/format.ts';
import { safeName } from '../../report/text.ts';
import type { Context } from '../context.ts';

interface CopyFlags {
  readonly output?: string | undefined;
  readonly force?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
}

export interface SplitFlags extends CopyFlags {
  readonly maxSize?: number | undefined;
  readonly maxTensors?: number | undefined;
  /** `--no-tensor-first-split` of llama-gguf-split. */
  readonly tensorFirstSplit: boolean;
}

export async function runSplit(context: Context, input: string, flags: SplitFlags): Promise<undefined> {
  const report = await splitModel(input, {
    output: flags.output,
    maxBytes: flags.maxSize,
    maxTensors: flags.maxTensors,
    noTensorFirst: !flags.tensorFirstSplit,
    ...copyOptions(context, flags),
  });
  return print(context, report, flags);
}

export async function runMerge(context: Context, input: string, flags: CopyFlags): Promise<undefined> {
  return print(
    context,
    await mergeModel(input, { output: flags.output, ...copyOptions(context, flags) }),
    flags,
  );
}

function copyOptions({ signal, progress }: Context, { force, dryRun }: CopyFlags) {
  return { force, dryRun, signal, onProgress: progress.onProgress };
}

function print(context: Context, report: PartsReport, { dryRun }: CopyFlags): undefined {
  context.progress.clear();
  if (context.json) {
    context.printJson({ ...report, dryRun: dryRun === true });
    return undefined;
  }
  for (const { path, bytes } of report.files) context.print(`${safeName(path)}  ${formatBytes(bytes)}`);
  const what = `${counted(report.tensors, 'tensor')} in ${counted(report.files.length, 'file')}`;
  context.say(
    context.errStyle.dim(
      dryRun === true
        ? `${what}; dry run: nothing is written`
        : `${what}; done in ${formatDuration(report.seconds)}`,
    ),
  );
  return undefined;
}
