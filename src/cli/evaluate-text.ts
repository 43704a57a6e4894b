/** Evaluations as tables for the terminal: models one below the other, then the layers of each, the worst first. */

import { basename } from 'node:path';
import type { Evaluation, ModelFigures } from '../compress/evaluate.ts';
import {
  formatBytes,
  formatCosine,
  formatDecibels,
  formatMs,
  formatPercent,
  formatRatio,
  formatShortCount,
  formatValue,
} from '../report/format.ts';
import { type Column, renderTable } from '../report/table.ts';
import { safeName } from '../report/text.ts';
import type { ScoreDistance, TaskQuality } from '../verify/evaluate/score-sums.ts';
import type { Context } from './context.ts';

/** A column, and what stands in it for the original or a model. */
interface Figure {
  readonly column: Column;
  readonly text: (row: Row) => string;
}

interface Row {
  readonly figures: ModelFigures;
  readonly task: TaskQuality | undefined;
  readonly distance: ScoreDistance | undefined;
  readonly sqnr: number | undefined;
  readonly cosine: number | undefined;
  readonly original: ModelFigures | undefined;
}

const FIGURES: readonly Figure[] = [
  { column: { title: 'model', min: 16 }, text: ({ figures }) => safeName(basename(figures.file)) },
  { column: { title: 'size', align: 'right' }, text: ({ figures }) => formatBytes(figures.bytes) },
  {
    column: { title: 'of original', align: 'right', drop: 6 },
    text: ({ figures, original }) =>
      original === undefined || original === figures ? '' : formatRatio(figures.bytes, original.bytes),
  },
  {
    column: { title: 'bits/weight', align: 'right', drop: 5 },
    text: ({ figures }) => figures.bitsPerWeight.toFixed(2),
  },
  {
    column: { title: 'accuracy', align: 'right' },
    text: ({ task }) => (task?.accuracy === undefined ? '' : formatPercent(task.accuracy)),
  },
  {
    column: { title: 'perplexity', align: 'right' },
    text: ({ task }) => (task?.perplexity === undefined ? '' : task.perplexity.toFixed(3)),
  },
  {
    column: { title: 'KL, nats', align: 'right' },
    text: ({ distance }) => (distance === undefined ? '' : formatValue(distance.klDivergence)),
  },
  {
    column: { title: 'same first', align: 'right', drop: 3 },
    text: ({ distance }) => (distance === undefined ? '' : formatPercent(distance.agreement)),
  },
  {
    column: { title: 'SQNR', align: 'right', drop: 4 },
    text: ({ sqnr }) => (sqnr === undefined ? '' : formatDecibels(sqnr)),
  },
  {
    column: { title: 'cosine', align: 'right', drop: 7 },
    text: ({ cosine }) => (cosine === undefined ? '' : formatCosine(cosine)),
  },
  {
    column: { title: 'load ms', align: 'right', drop: 8 },
    text: ({ figures }) => (figures.cost === undefined ? '' : formatMs(figures.cost.loadMs)),
  },
  {
    column: { title: 'run ms', align: 'right', drop: 1 },
    text: ({ figures }) => (figures.cost === undefined ? '' : formatMs(figures.cost.runMs)),
  },
  {
    column: { title: 'peak memory', align: 'right', drop: 2 },
    text: ({ figures }) => (figures.cost === undefined ? '' : formatBytes(figures.cost.peakBytes)),
  },
];

/** One row for each model, the original first; columns that nothing is known for are left out. */
export function evaluationLines(
  evaluations: readonly Evaluation[],
  { style, width }: Pick<Context, 'style' | 'width'>,
): string {
  const [first] = evaluations;
  const original = first?.against;
  const rows: Row[] = evaluations.map(({ model, quality }) => ({
    figures: model,
    task: quality.scores?.result,
    distance: quality.scores?.distance,
    sqnr: quality.sqnr,
    cosine: quality.cosine,
    original,
  }));
  if (original !== undefined) {
    const task = first?.quality.scores?.original;
    rows.unshift({
      figures: original,
      task,
      distance: undefined,
      sqnr: undefined,
      cosine: undefined,
      original,
    });
  }
  const shown = FIGURES.filter(({ text }) => rows.some((row) => text(row) !== ''));
  return renderTable(
    shown.map(({ column }) => column),
    rows.map((row) => shown.map(({ text }) => text(row))),
    { width, style },
  );
}

const LAYER_COLUMNS: readonly Column[] = [
  { title: 'layer, worst first', min: 20 },
  { title: 'stored as', drop: 4 },
  { title: 'count', align: 'right', drop: 5 },
  { title: 'alone', align: 'right' },
  { title: 'activation SQNR', align: 'right', drop: 3 },
  { title: 'weight SQNR', align: 'right', drop: 2 },
  { title: 'to keep it', align: 'right' },
];

/** Empty where layers were not judged. */
export function layerLines(
  { model, layers }: Evaluation,
  top: number,
  { style, width }: Pick<Context, 'style' | 'width'>,
): string {
  if (layers === undefined) return '';
  const name = safeName(basename(model.file));
  if (layers.layers.length === 0)
    return style.dim(`${name}: no weight is stored otherwise than in the original`);
  const rows = layers.layers
    .slice(0, top)
    .map(({ weight, form, count, harm, activation, weightSqnr, keepBytes }) => {
      // Exporters number weights; what is computed with them has a name.
      const meaning = weight.startsWith('onnx::') ? activation?.tensor : undefined;
      return [
        safeName(meaning === undefined ? weight : `${weight} ${meaning}`),
        form,
        formatShortCount(count),
        harm?.klDivergence === undefined
          ? harm === undefined
            ? ''
            : formatDecibels(harm.sqnr)
          : `${formatValue(harm.klDivergence)} nats`,
        activation === undefined ? '' : formatDecibels(activation.sqnr),
        formatDecibels(weightSqnr),
        `${keepBytes < 0 ? '−' : '+'}${formatBytes(Math.abs(keepBytes))}`,
      ];
    });
  const shown = LAYER_COLUMNS.map((column, index) => ({ column, index })).filter(({ index }) =>
    rows.some((row) => row[index] !== ''),
  );
  const rest = layers.layers.length - rows.length;
  const ending = [
    ...(layers.samples > 0
      ? [`alone: the original with this one weight as stored in ${name}, on ${layers.samples} samples`]
      : []),
    ...(rest > 0 ? [`${rest} more (--top)`] : []),
  ];
  return [
    renderTable(
      shown.map(({ column }) => column),
      rows.map((row) => shown.map(({ index }) => row[index] ?? '')),
      { width, style },
    ),
    ...(ending.length > 0 ? [style.dim(ending.join('; '))] : []),
  ].join('\n');
}
