/** Inner values of two models as a table for the terminal, those that differ most first. */

import type { ActivationReport } from '../compress/compare-activations.ts';
import { formatCosine, formatDecibels, formatValue } from '../report/format.ts';
import { type Column, renderTable } from '../report/table.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';

const COLUMNS: readonly Column[] = [
  { title: 'value inside', min: 20 },
  { title: 'place', align: 'right', drop: 4 },
  { title: 'computed by', drop: 3 },
  { title: 'with', drop: 2 },
  { title: 'SQNR', align: 'right' },
  { title: 'cosine', align: 'right' },
  { title: 'largest difference', align: 'right', drop: 1 },
];

export function activationLines(
  { compared, differentSize }: ActivationReport,
  top: number,
  { style, width }: Pick<Context, 'style' | 'width'>,
): string {
  const differing = compared
    .map((value, place) => ({ ...value, place: place + 1 }))
    .filter(({ sqnr }) => sqnr !== Infinity)
    .sort((x, y) => (x.sqnr === y.sqnr ? x.place - y.place : x.sqnr - y.sqnr));
  const shown = differing.slice(0, top);
  const rows = shown.map(({ name, nameB, place, opType, weight, isOutput, sqnr, cosine, maxAbs }) => [
    `${safeName(name)}${nameB === undefined ? '' : ` (b: ${safeName(nameB)})`}${isOutput ? ', output' : ''}`,
    String(place),
    safeName(opType),
    weight === undefined ? '' : safeName(weight),
    formatDecibels(sqnr),
    formatCosine(cosine),
    formatValue(Number(maxAbs.toPrecision(4))),
  ]);
  const rest = differing.length - shown.length;
  const ending = [
    `${compared.length} values inside compared, ${compared.length - differing.length} equal`,
    ...(rest > 0 ? [`${rest} more differ (--top)`] : []),
    ...(differentSize.length > 0
      ? [`${differentSize.length} differ in size: ${differentSize.slice(0, 3).map(safeName).join(', ')}`]
      : []),
  ].join('; ');
  const used = COLUMNS.map((column, index) => ({ column, index })).filter(
    ({ column, index }) => column.title !== 'with' || rows.some((row) => row[index] !== ''),
  );
  const table = renderTable(
    used.map(({ column }) => column),
    rows.map((row) => used.map(({ index }) => row[index] ?? '')),
    { width, style },
  );
  return shown.length === 0 ? style.dim(ending) : `${table}\n${style.dim(ending)}`;
}
