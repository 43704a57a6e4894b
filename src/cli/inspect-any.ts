/** `whittle inspect`: which format the model is in decides what there is to see, and its size whether weights are read unasked. */

import { stat } from 'node:fs/promises';
import { modelFormat } from '../compress/model-format.ts';
import { WhittleError } from '../errors.ts';
import { formatBytes } from '../report/format.ts';
import type { Context } from './context.ts';
import type { InspectFlags } from './inspect.ts';

/** Beyond this, reading every weight takes longer than a look should: only on request. */
const MEASURED_BYTES = 8 * 1024 ** 3;
/** Orders that need no weight. */
const NAMED_ORDERS: readonly (string | undefined)[] = [undefined, 'file', 'name', 'size'];

/** The flags as typed: whether weights are measured is open until the size is known. */
export interface InspectWishes extends Omit<InspectFlags, 'stats'> {
  readonly stats?: boolean | undefined;
}

export async function runInspectAny(
  context: Context,
  file: string,
  wishes: InspectWishes,
): Promise<undefined> {
  if (wishes.tensor !== undefined && wishes.stats === false) {
    throw new WhittleError('E_USAGE', '--tensor shows statistics, which --no-stats leaves out');
  }
  const asked = wishes.tensor !== undefined || !NAMED_ORDERS.includes(wishes.sort);
  const flagsFor = (bytes: number): InspectFlags => {
    return { ...wishes, stats: wishes.stats ?? (asked || bytes <= MEASURED_BYTES) };
  };
  let bytes: number;
  if ((await modelFormat(file)) === 'gguf') bytes = await inspectGguf(context, file, flagsFor);
  else {
    // A file that is not there is the command's own error.
    bytes = (await stat(file).catch(() => undefined))?.size ?? 0;
    await (await import('./inspect.ts')).runInspect(context, file, flagsFor(bytes));
  }
  if (!flagsFor(bytes).stats && wishes.stats === undefined) {
    context.say(`Weights were not measured: ${formatBytes(bytes)} of them. Pass --stats to read them all.`);
  }
  return undefined;
}

/** @returns the bytes of the model, all of its files together. */
async function inspectGguf(
  context: Context,
  file: string,
  flagsFor: (bytes: number) => InspectFlags,
): Promise<number> {
  const [{ openGguf }, { runInspectGguf }] = await Promise.all([
    import('../formats/gguf/open.ts'),
    import('./gguf/inspect.ts'),
  ]);
  // Not `await using`: the compiler would leave the imports above as they are written, to files that are not published.
  const model = await openGguf(file);
  try {
    await runInspectGguf(context, model, flagsFor(model.bytes));
    return model.bytes;
  } finally {
    await model.close();
  }
}
