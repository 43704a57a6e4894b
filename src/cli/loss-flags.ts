/** Flags that say how much a result may lose, and the lines that tell what was kept for it. */

import { InvalidArgumentError } from 'commander';
import { LOSS_MEASURES, type LossMeasure } from '../compress/max-loss/names.ts';
import type { CompressionReport, KeptWithinLoss, MaxLoss } from '../compress/options.ts';
import { WhittleError } from '../errors.ts';
import { formatBytes, formatDuration } from '../report/format.ts';
import type { LossRow } from '../report/model-report.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';
import type { DataFlags } from './data-flags.ts';

/** `0.5` or `0.5%`. */
export interface GivenLoss {
  readonly limit: number;
  readonly percent: boolean;
}

export interface LossFlags extends DataFlags {
  readonly maxLoss?: GivenLoss | undefined;
  readonly loss?: LossMeasure | undefined;
  readonly evaluateData?: string | undefined;
  readonly evaluateSamples?: number | undefined;
}

/** @throws InvalidArgumentError of the parser */
export function lossOption(word: string): GivenLoss {
  const [, digits, sign] = /^(\d{1,9}(?:\.\d{1,12})?(?:[eE]-?\d{1,3})?)\s*(%?)$/.exec(word.trim()) ?? [];
  if (digits === undefined) throw new InvalidArgumentError('Expected a number such as 0.5, or 0.5%.');
  return { limit: Number(digits), percent: sign === '%' };
}

/** @throws WhittleError E_USAGE where flags speak of a loss and none is given, or of a loss without data */
export function maxLossOptions(flags: LossFlags): MaxLoss | undefined {
  const { maxLoss, loss, evaluateData, evaluateSamples, data } = flags;
  if (maxLoss === undefined) {
    const given = { loss, 'evaluate-data': evaluateData, 'evaluate-samples': evaluateSamples };
    const name = Object.entries(given).find(([, value]) => value !== undefined)?.[0];
    if (name === undefined) return undefined;
    throw new WhittleError('E_USAGE', `--${name} speaks of a largest loss, and none was given`, {
      hint: 'Say how much may be lost with --max-loss.',
    });
  }
  if (data === undefined && evaluateData === undefined) {
    throw new WhittleError('E_USAGE', '--max-loss measures what is lost on data, and none was given', {
      hint: 'Name the data with --data, or with --evaluate-data where it is only judged on.',
    });
  }
  if (maxLoss.percent && loss !== undefined && LOSS_MEASURES[loss].unit === 'nats') {
    throw new WhittleError('E_USAGE', `--loss ${loss} is no percentage`, {
      expected: 'nats, such as 0.002',
      found: `${maxLoss.limit}%`,
    });
  }
  const { samples: _samples, ...source } = sourceOf(flags, evaluateData);
  return {
    limit: maxLoss.limit,
    measure: loss,
    data: evaluateData === undefined ? undefined : { ...source, source: evaluateData },
    samples: evaluateSamples,
  };
}

function sourceOf({ samples, sequence, seed, tokenizer, preprocessing }: LossFlags, source = '') {
  return { source, samples, sequence, seed, tokenizer, preprocessing };
}

/** Names shown; the others are counted. */
const SHOWN = 12;

/** What each mode loses and what was kept for it; empty where no largest loss was given. */
export function keptLines({ results }: CompressionReport, { style }: Context): string[] {
  return results.flatMap(({ mode, loss }) => {
    if (loss === undefined) return [];
    const lines = ['', `${safeName(mode)}: ${lossText(loss)}`];
    if (loss.kept.length > 0) {
      const names = loss.kept
        .slice(0, SHOWN)
        .map(({ layer, bytes }) => `${safeName(layer)} (${bytesText(bytes)})`);
      const more = loss.kept.length - names.length;
      lines.push(`kept, worst first: ${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}`);
    }
    const tries = loss.tries.map((each) => `${each.kept} kept ${number(each.loss)}`).join(', ');
    lines.push(style.dim(`tried in ${formatDuration(loss.seconds)}: ${tries}`));
    return lines;
  });
}

/** The same for the page. */
export function lossRow(loss: KeptWithinLoss): LossRow {
  const { unit, kept, tries } = loss;
  return { text: lossText(loss), unit, kept, tries };
}

/** "accuracy 71.1 % (original 71.2 %), 0.1 points less, at most 0.5; 2 of 38 layers kept, +1.2 MiB" */
export function lossText({ measure, unit, limit, loss, original, result, ...rest }: KeptWithinLoss): string {
  const { kept, keptBytes, layers, samples, data } = rest;
  const shown = (value: number): string =>
    measure === 'accuracy' ? `${(100 * value).toFixed(2)} %` : value.toPrecision(5);
  const figures =
    original === undefined || result === undefined
      ? measure
      : `${measure} ${shown(result)} (original ${shown(original)})`;
  const keptText =
    kept.length === 0
      ? 'no layer had to be kept'
      : `${kept.length} of ${layers} layers kept, ${bytesText(keptBytes)}`;
  return `${figures}, loss ${number(loss)} ${unit} (at most ${limit}); ${keptText}; on ${samples} samples: ${safeName(data)}`;
}

function bytesText(bytes: number): string {
  return bytes < 0 ? `−${formatBytes(-bytes)}` : `+${formatBytes(bytes)}`;
}

function number(value: number): string {
  return String(Number(value.toPrecision(3)));
}
