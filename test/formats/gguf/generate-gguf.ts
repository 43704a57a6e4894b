/** Arbitrary valid GGUF files for property tests: all value types, all tensor types, any alignment. */

import fc from 'fast-check';
import { GGML_TYPES, isGgmlType } from '../../../src/core/ggml-types.ts';
import type { GgufValue } from '../../../src/formats/gguf/gguf.ts';
import {
  type BuildEntry,
  type BuildOptions,
  type BuildTensor,
  type BuildType,
  ggufString,
  ggufValue,
  tensorSize,
} from './build-gguf.ts';

const text = fc.string({ unit: 'binary', maxLength: 12 }).filter((value) => !/\p{Surrogate}/u.test(value));

const SCALARS: Readonly<Record<Exclude<BuildType, `${string}[]`>, fc.Arbitrary<GgufValue>>> = {
  u8: fc.integer({ min: 0, max: 255 }),
  i8: fc.integer({ min: -128, max: 127 }),
  u16: fc.integer({ min: 0, max: 65535 }),
  i16: fc.integer({ min: -32768, max: 32767 }),
  u32: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  i32: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  f32: fc.float({ noNaN: true }),
  bool: fc.boolean(),
  string: text,
  u64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  i64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  f64: fc.double({ noNaN: true }),
};

const key = fc
  .tuple(text, fc.constantFrom('', '__proto__', 'general.name', 'a.b'))
  .map(([a, b]) => a + b)
  .filter((name) => name !== '' && name !== 'general.alignment' && !name.startsWith('split.'));

const entry: fc.Arbitrary<BuildEntry> = fc.oneof(
  ...Object.entries(SCALARS).flatMap(([type, values]): fc.Arbitrary<BuildEntry>[] => {
    const name = scalarName(type);
    return [
      fc.tuple(key, fc.constant(name), values),
      fc.tuple(key, fc.constant(`${name}[]` as const), fc.array(values, { maxLength: 5 })),
    ];
  }),
);

function scalarName(type: string): Exclude<BuildType, `${string}[]`> {
  switch (type) {
    case 'u8':
    case 'i8':
    case 'u16':
    case 'i16':
    case 'u32':
    case 'i32':
    case 'f32':
    case 'bool':
    case 'string':
    case 'u64':
    case 'i64':
    case 'f64':
      return type;
    default:
      throw new Error(type);
  }
}

const tensor: fc.Arbitrary<BuildTensor> = fc
  .record({
    name: fc
      .tuple(text, fc.constantFrom('w', 'blk.0.attn_q.weight', '__proto__'))
      .map(([a, b]) => a + b)
      .filter((name) => !name.includes('\0') && new TextEncoder().encode(name).length < 64),
    type: fc.constantFrom(...Object.keys(GGML_TYPES).filter(isGgmlType)),
    blocks: fc.integer({ min: 0, max: 2 }),
    more: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 }),
    seed: fc.integer({ min: 0, max: 255 }),
  })
  .map(({ name, type, blocks, more, seed }) => {
    const shape = [GGML_TYPES[type].size * blocks, ...more];
    const bytes = new Uint8Array(tensorSize({ name, shape, type }));
    for (let i = 0; i < bytes.length; i++) bytes[i] = (seed + 7 * i) & 0xff;
    return { name, shape, type, bytes };
  });

/** Options of `buildGguf` that give a valid file of a few kilobytes. */
export const ggufOptions: fc.Arbitrary<BuildOptions> = fc.record({
  version: fc.constantFrom(2, 3),
  metadata: fc.uniqueArray(entry, { selector: ([name]) => name, maxLength: 6 }),
  tensors: fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 4 }),
  alignment: fc.constantFrom(1, 2, 8, 32, 64, 256),
});

/** Offsets of the numbers in the head of the file that `buildGguf` makes: counts, lengths, types, dimensions, offsets. */
export function fieldOffsets({ metadata = [], tensors = [], alignment = 32 }: BuildOptions): number[] {
  const entries: BuildEntry[] = [...metadata];
  if (alignment !== 32) entries.push(['general.alignment', 'u32', alignment]);
  const fields = [4, 8, 16];
  let at = 24;
  for (const [key, type, value] of entries) {
    const typeAt = at + ggufString(key).length;
    fields.push(at, typeAt, typeAt + 4);
    if (type.endsWith('[]')) fields.push(typeAt + 8, typeAt + 16);
    at = typeAt + ggufValue(type, value).length;
  }
  for (const { name, shape } of tensors) {
    const shapeAt = at + ggufString(name).length;
    const typeAt = shapeAt + 4 + 8 * shape.length;
    fields.push(at, shapeAt, ...shape.map((_, index) => shapeAt + 4 + 8 * index), typeAt, typeAt + 4);
    at = typeAt + 12;
  }
  return fields;
}
