/** What an algorithm did to each layer, as lines under the table of results: the error of its outputs before and after. */

import type { ModeResult } from '../compress/options.ts';
import type { LayerReport } from '../compress/solve/solve.ts';
import { counted, formatDuration } from '../report/format.ts';
import { type Column, renderTable } from '../report/table.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';

/** Layers shown for each result, those with the largest error first. */
const SHOWN = 8;

const COLUMNS: readonly Column[] = [
  { title: 'layer', min: 16 },
  { title: 'algorithm' },
  { title: 'rounded to nearest', align: 'right' },
  { title: 'now', align: 'right' },
  { title: 'damping', align: 'right', drop: 2 },
  { title: 'dead inputs', align: 'right', drop: 1 },
];

/** Empty where no algorithm was asked for. */
export function layerLines(
  { mode, solved }: Pick<ModeResult, 'mode' | 'solved'>,
  { style, width }: Context,
): string[] {
  if (solved === undefined || solved.layers.length === 0) return [];
  const { layers, algorithm, data, seconds } = solved;
  const worst = layers.toSorted((a, b) => b.errorAfter - a.errorAfter).slice(0, SHOWN);
  const on = data === undefined ? 'without data' : `on ${safeName(data)}`;
  return [
    '',
    `${safeName(mode)}: ${algorithm} ${on}, ${counted(layers.length, 'layer')} in ${formatDuration(seconds)}; share of the outputs' energy that is error, mean ${percent(mean(layers, 'errorBefore'))} → ${percent(mean(layers, 'errorAfter'))}`,
    renderTable(
      COLUMNS,
      worst.map(({ layer, algorithm, errorBefore, errorAfter, damping, deadInputs }) => [
        safeName(layer),
        algorithm,
        percent(errorBefore),
        percent(errorAfter),
        damping === undefined ? '' : percent(damping),
        deadInputs === undefined ? '' : String(deadInputs),
      ]),
      { width, style },
    ),
    ...(layers.length > SHOWN
      ? [style.dim(`… and ${layers.length - SHOWN} with less error (all with --json)`)]
      : []),
  ];
}

function mean(layers: readonly LayerReport[], key: 'errorBefore' | 'errorAfter'): number {
  return layers.reduce((sum, layer) => sum + layer[key], 0) / layers.length;
}

function percent(share: number): string {
  return `${(share * 100).toPrecision(3)} %`;
}
