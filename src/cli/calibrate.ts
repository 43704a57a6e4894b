/** `whittle calibrate`: data through a model, statistics of its weights' inputs into a file. */

import { type CalibrateOptions, calibrate } from '../compress/calibrate.ts';
import { WhittleError } from '../errors.ts';
import { formatDuration } from '../report/format.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';

export interface CalibrateFlags {
  readonly out: string;
  readonly data?: string | undefined;
  readonly tokenizer?: string | undefined;
  readonly preprocessing?: CalibrateOptions['preprocessing'];
  readonly samples?: number | undefined;
  readonly sequence?: number | undefined;
  readonly seed?: number | undefined;
  readonly gram?: boolean | undefined;
  readonly tensors?: readonly string[] | undefined;
  readonly perChannel?: number | undefined;
  readonly histograms?: boolean | undefined;
  readonly imatrix?: string | undefined;
  readonly resume?: boolean | undefined;
  readonly force?: boolean | undefined;
  readonly threads?: number | undefined;
}

export async function runCalibrate(
  context: Context,
  file: string,
  flags: CalibrateFlags,
): Promise<number | undefined> {
  const started = performance.now();
  const { samples, sequence, seed, tensors, perChannel, histograms } = flags;
  if (tensors === undefined && (perChannel !== undefined || histograms === true)) {
    throw new WhittleError(
      'E_USAGE',
      `--${histograms ? 'histograms' : 'per-channel'} speaks of values, and none are named`,
      { hint: 'Name them with --tensors.' },
    );
  }
  const report = await calibrate(file, {
    data: flags.data,
    tokenizer: flags.tokenizer,
    preprocessing: flags.preprocessing,
    output: flags.out,
    imatrix: flags.imatrix,
    gram: flags.gram,
    tensors: tensors && { names: tensors, axis: perChannel, histograms },
    dataset: { samples, sequence, seed },
    force: flags.force,
    resume: flags.resume,
    threads: flags.threads,
    signal: context.signal,
    onProgress: ({ bytesDone, bytesTotal }) =>
      context.progress.status(`${safeName(file)}: sample ${bytesDone} of ${bytesTotal}`),
  });
  const seconds = (performance.now() - started) / 1000;
  if (context.json) {
    context.printJson({ ...report, seconds });
    return undefined;
  }
  for (const note of report.notes) context.say(note);
  for (const { weight, reason } of report.uncollected) context.say(`${safeName(weight)}: ${reason}`);
  const resumed = report.resumed === 0 ? '' : `, ${report.resumed} of them from before`;
  context.print(
    `${safeName(report.output)}: statistics of the inputs of ${report.weights} weights${report.tensors === 0 ? '' : ` and ${report.tensors} values`}, ${report.samples} samples${resumed}, up to ${report.rows} rows`,
  );
  if (report.imatrix !== undefined) context.print(`${safeName(report.imatrix)}: importance matrix`);
  context.say(context.errStyle.dim(`${report.data}; done in ${formatDuration(seconds)}`));
  return undefined;
}
