/** Makes small importance matrices in both forms, straight from the description of their layout. */

import fc from 'fast-check';
import type { BuildOptions } from './build-gguf.ts';
import { concatenated, joined, text, u32 } from './build-gguf.ts';

export interface LegacyEntry {
  readonly name: string;
  readonly calls: number;
  readonly values: readonly number[];
}

export interface LegacyOptions {
  readonly entries: readonly LegacyEntry[];
  /** Left out: the file ends behind its entries. */
  readonly chunks?: number | undefined;
  readonly dataset?: string | undefined;
}

/** The `.dat` form. */
export function buildLegacyImatrix({ entries, chunks, dataset }: LegacyOptions): Uint8Array<ArrayBuffer> {
  return concatenated([
    u32(entries.length),
    ...entries.flatMap(({ name, calls, values }) => [
      legacyText(name),
      u32(calls),
      u32(values.length),
      floats(values),
    ]),
    ...(chunks === undefined ? [] : [u32(chunks)]),
    ...(dataset === undefined ? [] : [legacyText(dataset)]),
  ]);
}

function legacyText(value: string): Uint8Array {
  const bytes = text(value);
  return joined(u32(bytes.length), bytes);
}

/** Little-endian f32. */
export function floats(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) view.setFloat32(4 * index, value, true);
  return bytes;
}

export interface SumsEntry {
  readonly name: string;
  /** [matrices][columns] */
  readonly sums: readonly (readonly number[])[];
  readonly counts: readonly number[];
}

/** The GGUF form, as options of `buildGguf`. */
export function imatrixGguf(
  entries: readonly SumsEntry[],
  datasets: readonly string[] = ['calibration.txt'],
  chunks = 3,
  chunkSize = 512,
): BuildOptions {
  return {
    metadata: [
      ['general.type', 'string', 'imatrix'],
      ['imatrix.datasets', 'string[]', datasets],
      ['imatrix.chunk_count', 'u32', chunks],
      ['imatrix.chunk_size', 'u32', chunkSize],
    ],
    tensors: entries.flatMap(({ name, sums, counts }) => [
      {
        name: `${name}.in_sum2`,
        shape: trimmed([sums[0]?.length ?? 0, sums.length]),
        type: 'f32' as const,
        bytes: floats(sums.flat()),
      },
      {
        name: `${name}.counts`,
        shape: trimmed([1, counts.length]),
        type: 'f32' as const,
        bytes: floats(counts),
      },
    ]),
  };
}

function trimmed([columns, matrices]: readonly [number, number]): number[] {
  return matrices === 1 ? [columns] : [columns, matrices];
}

const weightName = fc
  .tuple(fc.integer({ min: 0, max: 99 }), fc.constantFrom('attn_q', 'ffn_down', 'ffn_up_exps'))
  .map(([layer, part]) => `blk.${layer}.${part}.weight`);
const value = fc.float({ min: 0, max: 1000, noNaN: true });

export const legacyOptions: fc.Arbitrary<LegacyOptions> = fc.record({
  entries: fc.uniqueArray(
    fc.record({
      name: weightName,
      calls: fc.integer({ min: 0, max: 300 }),
      values: fc.array(value, { minLength: 1, maxLength: 12 }),
    }),
    { selector: ({ name }) => name, minLength: 1, maxLength: 4 },
  ),
  chunks: fc.constant(7),
  dataset: fc.constantFrom('', 'wiki.txt'),
});

export const imatrixOptions: fc.Arbitrary<BuildOptions> = fc
  .uniqueArray(
    fc.record({
      name: weightName,
      columns: fc.integer({ min: 1, max: 8 }),
      matrices: fc.integer({ min: 1, max: 3 }),
      seed: value,
    }),
    { selector: ({ name }) => name, minLength: 1, maxLength: 4 },
  )
  .map((list) =>
    imatrixGguf(
      list.map(({ name, columns, matrices, seed }) => ({
        name,
        sums: Array.from({ length: matrices }, (_, m) => new Array<number>(columns).fill(seed + m)),
        counts: Array.from({ length: matrices }, (_, m) => m * 3),
      })),
    ),
  );
