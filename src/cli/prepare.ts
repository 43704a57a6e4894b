/** `whittle prepare`: the float model as preparations leave it. */

import { prepareOnnx } from '../compress/prepare-model.ts';
import { formatBytes, formatDuration } from '../report/format.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';
import { type DataFlags, dataOptions } from './data-flags.ts';

export interface PrepareFlags extends DataFlags {
  readonly passes: readonly string[];
  readonly output?: string | undefined;
  readonly force?: boolean | undefined;
  readonly externalData?: 'auto' | 'always' | 'never' | undefined;
  readonly threads?: number | undefined;
  readonly verify?: boolean | undefined;
}

/** Places shown for each pass. */
const SHOWN_PLACES = 8;

export async function runPrepare(context: Context, input: string, flags: PrepareFlags): Promise<undefined> {
  const report = await prepareOnnx(input, {
    passes: flags.passes,
    output: flags.output,
    force: flags.force,
    externalData: flags.externalData,
    threads: flags.threads,
    data: dataOptions(flags),
    verify: flags.verify === false || flags.shape === undefined ? flags.verify : { shapes: flags.shape },
    signal: context.signal,
    onProgress: context.progress.onProgress,
  });
  context.progress.clear();
  if (context.json) {
    context.printJson(report);
    return undefined;
  }
  for (const { path, bytes } of report.files) context.print(`${safeName(path)}  ${formatBytes(bytes)}`);
  for (const { pass, places } of report.passes) {
    for (const { at, what } of places.slice(0, SHOWN_PLACES))
      context.print(`  ${pass}  ${safeName(at)}: ${what}`);
    if (places.length > SHOWN_PLACES) context.print(`  ${pass}  … ${places.length - SHOWN_PLACES} more`);
  }
  for (const note of report.notes) context.say(context.errStyle.dim(safeName(note)));
  context.say(context.errStyle.dim(`done in ${formatDuration(report.seconds)}`));
  return undefined;
}
