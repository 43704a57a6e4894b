/** `--dry-run --all`: a table of every file type for this model, with exact sizes and measured errors. */

import type { Survey } from '../../compress/gguf/survey.ts';
import {
  formatBytes,
  formatCount,
  formatDecibels,
  formatDuration,
  formatPercent,
  formatRatio,
} from '../../report/format.ts';
import { type Column, renderTable } from '../../report/table.ts';
import { safeName } from '../../report/text.ts';
import type { Context } from '../context.ts';

const COLUMNS: readonly Column[] = [
  { title: 'type' },
  { title: 'size', align: 'right' },
  { title: 'of original', align: 'right', drop: 3 },
  { title: 'bits/weight', align: 'right' },
  { title: 'weight SQNR', align: 'right' },
  { title: 'error', align: 'right', drop: 2 },
  { title: 'imatrix', drop: 4 },
  { title: 'what it is', min: 20, drop: 1 },
];

export function surveyText(survey: Survey, guided: boolean, { style, width }: Context): string {
  const types = survey.types.toSorted((a, b) => b.bytes - a.bytes);
  const rows = types.map((type) => [
    type.type,
    formatBytes(type.bytes),
    formatRatio(type.bytes, survey.inputBytes),
    type.bitsPerWeight.toFixed(2),
    formatDecibels(type.sqnr),
    formatPercent(type.relativeError),
    type.wantsImatrix ? 'wanted' : '',
    type.description,
  ]);
  const heading = `${style.bold(safeName(survey.input))}  ${style.dim(`${formatBytes(survey.inputBytes)}, every type, dry run: nothing is written`)}`;
  return [
    heading,
    '',
    renderTable(COLUMNS, rows, {
      width,
      style,
      paint: (text, row) => (types[row]?.wantsImatrix === true ? style.dim(text) : text),
    }),
    '',
    style.dim(
      `Sizes are exact. Errors were measured: ${formatCount(survey.sampled)} of ${formatCount(survey.weights)} weights, pieces of every tensor (seed ${survey.seed}), encoded and decoded${guided ? ', weighted by the importance matrix' : ''}, in ${formatDuration(survey.seconds)}.`,
    ),
    ...survey.unsuited.map(({ type, reason }) =>
      style.dim(`not for this model: ${type}: ${safeName(reason)}`),
    ),
  ].join('\n');
}
