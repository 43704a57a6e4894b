/** The plan of a GGUF dry run: what becomes of every tensor and why, and the exact sizes. */

import { basename } from 'node:path';
import type { GgufReport, GgufResult } from '../../compress/gguf/options.ts';
import { byBytes } from '../../compress/gguf/type-shares.ts';
import { valueCount } from '../../compress/gguf/values.ts';
import { formatShape } from '../../core/shape.ts';
import { formatBytes, formatCount, formatRatio } from '../../report/format.ts';
import { type Column, renderTable } from '../../report/table.ts';
import { safeName } from '../../report/text.ts';
import type { Context } from '../context.ts';

const COLUMNS: readonly Column[] = [
  { title: 'tensor', min: 18 },
  { title: 'shape', align: 'right', min: 8, drop: 2 },
  { title: 'from' },
  { title: 'to' },
  { title: 'bytes', align: 'right' },
  { title: 'why', min: 14, drop: 1 },
];

export function ggufPlanText(report: GgufReport, result: GgufResult, { style, width }: Context): string {
  const rows = result.tensors.map(({ name, source, shape, from, to, toBytes, reason, task, importance }) => [
    safeName(name === source ? name : `${name} (was ${source})`),
    formatShape(shape),
    from,
    task === undefined ? (from === to ? '=' : to) : to,
    formatBytes(toBytes),
    safeName(importance ? `${reason}; guided by the imatrix` : reason),
  ]);
  const heading = `${style.bold(result.type)}  ${style.dim(`${safeName(report.input)}, dry run: nothing is written`)}`;
  const table = renderTable(COLUMNS, rows, {
    width,
    style,
    paint: (text, row) => (result.tensors[row]?.task === undefined ? style.dim(text) : text),
  });
  const files = result.files.map(
    ({ path, bytes }) => `${safeName(basename(path))} ${formatCount(bytes)} bytes`,
  );
  const facts: readonly (readonly [string, string])[] = [
    ['files', files.join(', ')],
    ['types', compositionText(result)],
    [
      'total',
      `${formatBytes(result.bytes)}, ${formatRatio(result.bytes, report.inputBytes)} of the original's ${formatBytes(report.inputBytes)}`,
    ],
    [
      'bits',
      `${result.bitsPerWeight.toFixed(2)} per weight, from ${report.inputBitsPerWeight.toFixed(2)}, for ${formatCount(report.weights)} weights`,
    ],
    ['imatrix', imatrixText(result)],
  ];
  return [heading, '', table, '', ...facts.map(([key, text]) => `${style.dim(key.padEnd(10))}${text}`)].join(
    '\n',
  );
}

function imatrixText({ wantsImatrix, tensors }: GgufResult): string {
  const guided = tensors.filter(({ importance }) => importance).length;
  if (wantsImatrix) return 'wanted: without one (--imatrix) the run is refused';
  return guided > 0 ? `guides ${formatCount(guided)} tensors` : 'not required';
}

/** `q4_K 1.20 GiB in 96 tensors, q6_K …` */
export function compositionText({ tensors }: GgufResult): string {
  const shares = byBytes(
    tensors.map((tensor) => ({ type: tensor.to, bytes: tensor.toBytes, weights: valueCount(tensor) })),
  );
  return shares
    .map(({ type, bytes, tensors: count }) => `${type} ${formatBytes(bytes)} in ${formatCount(count)}`)
    .join(', ');
}
