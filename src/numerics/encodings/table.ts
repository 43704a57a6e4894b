/** The encodings as Markdown tables, rendered from the descriptors so that the documentation cannot disagree with them. */

import { bitsPerWeight, type Encoding } from './encoding.ts';
import { ENCODINGS } from './registry.ts';

/** Names of TensorProto.DataType. */
const ONNX_NAMES: Readonly<Record<number, string>> = {
  2: 'UINT8',
  3: 'INT8',
  4: 'UINT16',
  5: 'INT16',
  10: 'FLOAT16',
  16: 'BFLOAT16',
  17: 'FLOAT8E4M3FN',
  18: 'FLOAT8E4M3FNUZ',
  19: 'FLOAT8E5M2',
  20: 'FLOAT8E5M2FNUZ',
  21: 'UINT4',
  22: 'INT4',
  23: 'FLOAT4E2M1',
  24: 'FLOAT8E8M0',
  25: 'UINT2',
  26: 'INT2',
};

/** Sizes: one row for each encoding; bits per weight with f32 scales (symmetric) at the block of the row, or at 32. */
export function encodingTable(): string {
  return markdown(
    ['id', 'family', 'bits', 'block', 'block bytes', 'scale', 'bits per weight', 'ONNX type'],
    ENCODINGS.map((row) => [
      `\`${row.id}\``,
      row.family,
      String(row.bits),
      blockText(row),
      row.blockBytes === null ? '–' : String(row.blockBytes),
      scaleText(row),
      weightText(row),
      row.onnxType === null ? '–' : `${row.onnxType} ${ONNX_NAMES[row.onnxType] ?? ''}`,
    ]),
  );
}

/** Behaviour at the edges: encodings with the same policy share a row. */
export function policyTable(): string {
  const groups = new Map<string, { ids: string[]; row: Encoding }>();
  for (const row of ENCODINGS) {
    const key = JSON.stringify(row.policy);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { ids: [row.id], row });
    else group.ids.push(row.id);
  }
  return markdown(
    ['encodings', 'ties', 'subnormals', '±0', '±Inf', 'NaN'],
    Array.from(groups.values(), ({ ids, row: { policy } }) => [
      ids.map((id) => `\`${id}\``).join(' '),
      policy.ties,
      policy.subnormals,
      policy.zero,
      policy.infinity,
      policy.nan,
    ]),
  );
}

function blockText(row: Encoding): string {
  if (row.blockSize !== null) return String(row.blockSize);
  if (row.defaultBlock !== null) return `any (${row.defaultBlock})`;
  return row.scaleType === 'none' ? '–' : 'any';
}

function scaleText(row: Encoding): string {
  switch (row.scaleType) {
    case 'none':
      return 'none';
    case 'optional':
      return 'none, f32 or f16';
    case 'choice':
      return row.affine ? 'f32 or f16, zero point' : 'f32 or f16';
    case 'f8_e8m0':
      return row.scaleType;
    case 'f8_e4m3fn':
      return `${row.scaleType}, f32 per tensor`;
    default:
      return row.scaleType satisfies never;
  }
}

function weightText(row: Encoding): string {
  if (row.scaleType === 'none') return String(row.bits);
  if (row.defaultBlock !== null) return String(bitsPerWeight(row));
  return `${row.bits} + scale (${bitsPerWeight(row, { groupSize: 32 })} at 32)`;
}

/** A Markdown table. */
export function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
