/**
 * The ggml types as Markdown tables: a data sheet of each block, rendered from the type's row and its fields, and which encoding
 * goes into which files. The fields of a block add up to its bytes (test/numerics/ggml-table.test.ts).
 */

import {
  BLOCK_TYPES,
  type BlockFamily,
  type BlockType,
  type Importance,
  isBlockType,
  isGgmlType,
} from '../../core/ggml-types.ts';
import { ENCODINGS } from './registry.ts';
import { markdown } from './table.ts';

export interface BlockSheet {
  /** In the order of the file: name, bytes. A half is called `d`, `m` or `dmin`. */
  readonly fields: readonly (readonly [name: string, bytes: number])[];
  /** What a reader computes for one value; q is its code, s and m its sub-block's. */
  readonly value: string;
}

const D = ['d', 2] as const;

export const BLOCK_SHEETS: Readonly<Record<BlockType, BlockSheet>> = {
  q4_0: { fields: [D, ['codes', 16]], value: 'd·(q − 8)' },
  q4_1: { fields: [D, ['m', 2], ['codes', 16]], value: 'd·q + m' },
  q5_0: { fields: [D, ['5th bits', 4], ['codes', 16]], value: 'd·(q − 16)' },
  q5_1: { fields: [D, ['m', 2], ['5th bits', 4], ['codes', 16]], value: 'd·q + m' },
  q8_0: { fields: [D, ['codes', 32]], value: 'd·q' },
  q2_K: { fields: [['scales, minima', 16], ['codes', 64], D, ['dmin', 2]], value: 'd·s·q − dmin·m' },
  q3_K: { fields: [['3rd bits', 32], ['codes', 64], ['scales', 12], D], value: 'd·(s − 32)·(q − 4)' },
  q4_K: { fields: [D, ['dmin', 2], ['scales, minima', 12], ['codes', 128]], value: 'd·s·q − dmin·m' },
  q5_K: {
    fields: [D, ['dmin', 2], ['scales, minima', 12], ['5th bits', 32], ['codes', 128]],
    value: 'd·s·q − dmin·m',
  },
  q6_K: { fields: [['codes', 128], ['5th, 6th bits', 64], ['scales', 16], D], value: 'd·s·(q − 32)' },
  iq2_xxs: { fields: [D, ['8 × (points, signs, s)', 64]], value: 'd·(s + ½)/4·±g' },
  iq2_xs: { fields: [D, ['points, signs', 64], ['scales', 8]], value: 'd·(s + ½)/4·±g' },
  iq3_xxs: { fields: [D, ['points', 64], ['8 × (signs, s)', 32]], value: 'd·(s + ½)/2·±g' },
  iq1_s: { fields: [D, ['points', 32], ['high bits, s, shift', 16]], value: 'd·(2s + 1)·(g ± ⅛)' },
  iq4_nl: { fields: [D, ['codes', 16]], value: 'd·book[q]' },
  iq3_s: {
    fields: [D, ['points', 64], ['9th bits', 8], ['signs', 32], ['scales', 4]],
    value: 'd·(2s + 1)·±g',
  },
  iq2_s: {
    fields: [D, ['points', 32], ['signs', 32], ['9th, 10th bits', 8], ['scales', 8]],
    value: 'd·(s + ½)/4·±g',
  },
  iq4_xs: {
    fields: [D, ['scales, high', 2], ['scales, low', 4], ['codes', 128]],
    value: 'd·(s − 32)·book[q]',
  },
  iq1_m: {
    fields: [
      ['points', 32],
      ['high bits, shifts', 16],
      ['scales, d', 8],
    ],
    value: 'd·(2s + 1)·(g ± ⅛)',
  },
  tq1_0: { fields: [['5 trits each', 48], ['4 trits each', 4], D], value: 'd·(q − 1)' },
  tq2_0: { fields: [['codes', 64], D], value: 'd·(q − 1)' },
  mxfp4: {
    fields: [
      ['exponent e', 1],
      ['codes', 16],
    ],
    value: '2^(e − 128)·kv[q]',
  },
  nvfp4: {
    fields: [
      ['4 scales s (UE4M3)', 4],
      ['codes', 32],
    ],
    value: 's/2·kv[q]',
  },
  q1_0: { fields: [D, ['bits', 16]], value: '±d' },
  q2_0: { fields: [D, ['codes', 16]], value: 'd·(q − 1)' },
};

const IMPORTANCE: Readonly<Record<Importance, string>> = { used: 'used', required: 'needed', ignored: '–' };

/** One row for each block type. */
export function ggmlTypeTable(): string {
  return markdown(
    [
      'type',
      'number',
      'values',
      'bytes',
      'bits per weight',
      'fields: bytes',
      'value',
      'importance',
      'defined in',
    ],
    Object.keys(BLOCK_TYPES)
      .filter(isBlockType)
      .map((type) => {
        const { id, size, bytes, importance, family } = BLOCK_TYPES[type];
        const { fields, value } = BLOCK_SHEETS[type];
        return [
          `\`${type}\``,
          String(id),
          String(size),
          String(bytes),
          String((8 * bytes) / size),
          fields.map(([name, length]) => `${name}: ${length}`).join('; '),
          value,
          IMPORTANCE[importance],
          family,
        ];
      }),
  );
}

/** Operators of ONNX Runtime that hold an encoding for which ONNX has no element type. */
const OPERATORS: Readonly<Record<string, string>> = { nf4: 'MatMulBnb4', 'bnb-fp4': 'MatMulBnb4' };
const FAMILIES: Readonly<Record<BlockFamily, string>> = {
  linear: '4 to 8 bits, blocks of 32',
  k: 'K-quants',
  narrow: 'signs, trits, 4-bit floats',
  lattice: 'code books of 2 and 3 bits',
  ternary: 'code book below 2 bits',
};

/** Encodings by what can hold them: a single tensor, GGUF files, ONNX files. */
export function supportMatrix(): string {
  const rows = new Map<string, { readonly ids: string[]; readonly cells: readonly string[] }>();
  const add = (
    id: string,
    ...cells: readonly [kind: string, call: string, gguf: string, onnx: string]
  ): void => {
    const key = cells.join('|');
    const row = rows.get(key) ?? { ids: [], cells };
    row.ids.push(`\`${id}\``);
    rows.set(key, row);
  };
  for (const { id, family, onnxType } of ENCODINGS) {
    const onnx = onnxType === null ? (OPERATORS[id] ?? '–') : 'yes';
    const gguf = isGgmlType(id) && !isBlockType(id);
    add(id, family, '`quantizeTensor`', gguf ? 'yes' : '–', onnx);
  }
  for (const [id, { family }] of Object.entries(BLOCK_TYPES)) {
    add(id, `ggml: ${FAMILIES[family]}`, '`quantizeGgml`', 'yes', '–');
  }
  return markdown(
    ['encodings', 'kind', 'one tensor', 'GGUF', 'ONNX'],
    Array.from(rows.values(), ({ ids, cells }) => [ids.join(' '), ...cells]),
  );
}
