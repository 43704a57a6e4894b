/** The plan of a dry run as a table: what becomes of every weight and why, and the exact sizes of the files. */

import { basename } from 'node:path';
import type { ModeResult } from '../compress/options.ts';
import { formatShape } from '../core/shape.ts';
import type { Scheme } from '../planning/recipe.ts';
import { formatBytes, formatRatio } from '../report/format.ts';
import { type Column, renderTable } from '../report/table.ts';
import { safeName } from '../report/text.ts';
import type { Context } from './context.ts';

const COLUMNS: readonly Column[] = [
  { title: 'weight', min: 18 },
  { title: 'shape', align: 'right', min: 8 },
  { title: 'from' },
  { title: 'becomes', min: 10 },
  { title: 'bytes', align: 'right' },
  { title: 'why', min: 14, drop: 1 },
];

export function planText(result: ModeResult, { style, width }: Context): string {
  const { plan } = result;
  const rows = plan.tensors.map(({ key, shape, dtype, source, scheme, parts, reason }) => {
    const bytes = scheme.as === 'keep' ? source.length : parts.reduce((sum, part) => sum + part.length, 0);
    return [
      safeName(key),
      formatShape(shape),
      dtype,
      schemeText(scheme),
      formatBytes(bytes),
      safeName(reason),
    ];
  });
  const files = result.files.map(({ path, bytes }) => `${safeName(basename(path))} ${formatBytes(bytes)}`);
  const heading = `${style.bold(safeName(result.mode))}  ${style.dim(`${safeName(result.input)}, dry run: nothing is written`)}`;
  const table = renderTable(COLUMNS, rows, {
    width,
    style,
    paint: (text, row) => (plan.tensors[row]?.scheme.as === 'keep' ? style.dim(text) : text),
  });
  return [
    heading,
    '',
    table,
    '',
    `${style.dim('files'.padEnd(10))}${files.join(', ')}`,
    `${style.dim('total'.padEnd(10))}${formatBytes(result.bytes)}, ${formatRatio(result.bytes, result.inputBytes)} of the original's ${formatBytes(result.inputBytes)}`,
  ].join('\n');
}

/** A scheme in a few words: `4-bit blocks of 32`. */
export function schemeText(scheme: Scheme): string {
  switch (scheme.as) {
    case 'keep':
      return 'kept';
    case 'matmul-nbits':
      return `${scheme.bits}-bit blocks of ${scheme.blockSize}${scheme.symmetric ? '' : scheme.zeroPoints === 'real' ? ', real zero points' : ', zero points'}`;
    case 'bnb4':
      return `${scheme.codebook} blocks of ${scheme.blockSize}`;
    case 'dynamic-int8':
      return `dynamic ${scheme.weightType === 'auto' ? 'int8' : scheme.weightType}${scheme.perChannel ? ' per channel' : ''}`;
    case 'qdq':
      return `${scheme.type} ${scheme.granularity === 'block' ? `blocks of ${scheme.blockSize}` : `per ${scheme.granularity}`}`;
    case 'cast':
      return `${scheme.type}${scheme.scale === 'none' ? '' : `, scale per ${scheme.scale}`}`;
    case 'gather-block':
      return `${scheme.bits}-bit table, blocks of ${scheme.blockSize}`;
    default:
      return scheme satisfies never;
  }
}
