/**
 * Tensor types of GGUF files, one row each: number, values and bytes of a block. Formats and plans ask this table for
 * sizes; the mathematics of the block types stand in src/kernels/ggml/.
 *
 * Names are those of `ggml_type_name`, numbers and sizes those of ggml 0.25.1 (docs/encodings.md). `importance` says what the
 * encoder does with an importance matrix: `used` where there is one, `required`, or `ignored`.
 */

export type Importance = 'used' | 'required' | 'ignored';

/** Types that pack several values into a block. `family` names the folder of src/kernels/ggml/ that defines them. */
export const BLOCK_TYPES = {
  q4_0: { id: 2, size: 32, bytes: 18, importance: 'used', family: 'linear' },
  q4_1: { id: 3, size: 32, bytes: 20, importance: 'used', family: 'linear' },
  q5_0: { id: 6, size: 32, bytes: 22, importance: 'used', family: 'linear' },
  q5_1: { id: 7, size: 32, bytes: 24, importance: 'used', family: 'linear' },
  q8_0: { id: 8, size: 32, bytes: 34, importance: 'ignored', family: 'linear' },
  q2_K: { id: 10, size: 256, bytes: 84, importance: 'used', family: 'k' },
  q3_K: { id: 11, size: 256, bytes: 110, importance: 'used', family: 'k' },
  q4_K: { id: 12, size: 256, bytes: 144, importance: 'used', family: 'k' },
  q5_K: { id: 13, size: 256, bytes: 176, importance: 'used', family: 'k' },
  q6_K: { id: 14, size: 256, bytes: 210, importance: 'used', family: 'k' },
  iq2_xxs: { id: 16, size: 256, bytes: 66, importance: 'required', family: 'lattice' },
  iq2_xs: { id: 17, size: 256, bytes: 74, importance: 'required', family: 'lattice' },
  iq3_xxs: { id: 18, size: 256, bytes: 98, importance: 'used', family: 'lattice' },
  iq1_s: { id: 19, size: 256, bytes: 50, importance: 'required', family: 'ternary' },
  iq4_nl: { id: 20, size: 32, bytes: 18, importance: 'used', family: 'linear' },
  iq3_s: { id: 21, size: 256, bytes: 110, importance: 'used', family: 'lattice' },
  iq2_s: { id: 22, size: 256, bytes: 82, importance: 'used', family: 'lattice' },
  iq4_xs: { id: 23, size: 256, bytes: 136, importance: 'used', family: 'linear' },
  iq1_m: { id: 29, size: 256, bytes: 56, importance: 'used', family: 'ternary' },
  tq1_0: { id: 34, size: 256, bytes: 54, importance: 'ignored', family: 'narrow' },
  tq2_0: { id: 35, size: 256, bytes: 66, importance: 'ignored', family: 'narrow' },
  mxfp4: { id: 39, size: 32, bytes: 17, importance: 'ignored', family: 'narrow' },
  nvfp4: { id: 40, size: 64, bytes: 36, importance: 'ignored', family: 'narrow' },
  q1_0: { id: 41, size: 128, bytes: 18, importance: 'ignored', family: 'narrow' },
  q2_0: { id: 42, size: 64, bytes: 18, importance: 'ignored', family: 'narrow' },
} as const satisfies Record<
  string,
  {
    readonly id: number;
    readonly size: number;
    readonly bytes: number;
    readonly importance: Importance;
    readonly family: BlockFamily;
  }
>;

export type BlockFamily = 'linear' | 'k' | 'narrow' | 'lattice' | 'ternary';
export type BlockType = keyof typeof BLOCK_TYPES;

/** Types of single values, and the two that only exist inside llama.cpp's own arithmetic: sizes without mathematics. */
export const PLAIN_TYPES = {
  f32: { id: 0, size: 1, bytes: 4 },
  f16: { id: 1, size: 1, bytes: 2 },
  bf16: { id: 30, size: 1, bytes: 2 },
  f64: { id: 28, size: 1, bytes: 8 },
  i8: { id: 24, size: 1, bytes: 1 },
  i16: { id: 25, size: 1, bytes: 2 },
  i32: { id: 26, size: 1, bytes: 4 },
  i64: { id: 27, size: 1, bytes: 8 },
  q8_1: { id: 9, size: 32, bytes: 36 },
  q8_K: { id: 15, size: 256, bytes: 292 },
} as const satisfies Record<string, { readonly id: number; readonly size: number; readonly bytes: number }>;

export type PlainType = keyof typeof PLAIN_TYPES;
export type GgmlType = BlockType | PlainType;

export const GGML_TYPES: Readonly<
  Record<GgmlType, { readonly id: number; readonly size: number; readonly bytes: number }>
> = { ...PLAIN_TYPES, ...BLOCK_TYPES };

export function isGgmlType(name: string): name is GgmlType {
  return Object.hasOwn(GGML_TYPES, name);
}

export function isBlockType(name: string): name is BlockType {
  return Object.hasOwn(BLOCK_TYPES, name);
}

const BY_ID: ReadonlyMap<number, GgmlType> = new Map(
  Object.entries(GGML_TYPES).flatMap(([name, { id }]) => (isGgmlType(name) ? [[id, name] as const] : [])),
);

/** undefined for numbers that no type has (4, 5 and 31–33 once had one). */
export function ggmlTypeOf(id: number): GgmlType | undefined {
  return BY_ID.get(id);
}

/** Bytes of `count` values; `count` is a multiple of the block's size. Exact up to 2^53. */
export function ggmlBytes(type: GgmlType, count: number): number {
  const { size, bytes } = GGML_TYPES[type];
  return (count / size) * bytes;
}
