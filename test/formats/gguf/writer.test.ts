/** What is written is what was read: by our reader, by the builder of the tests, and by ggml itself where it is installed. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GGML_TYPES } from '../../../src/core/ggml-types.ts';
import { isWhittleError } from '../../../src/errors.ts';
import type { GgufItem, GgufModel, GgufOutput, GgufOutputTensor } from '../../../src/formats/gguf/gguf.ts';
import { openGguf } from '../../../src/formats/gguf/open.ts';
import { layoutGguf, placeGguf } from '../../../src/formats/gguf/writer.ts';
import { encodeFile } from '../../../src/formats/onnx/model.ts';
import { memorySource } from '../../../src/io/memory-source.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';
import { type BuildEntry, type BuildOptions, buildGguf } from './build-gguf.ts';
import { ggufOptions } from './generate-gguf.ts';
import { ggmlReader } from './ggml-reader.ts';

const GGML = await ggmlReader();
const GGML_ABSENT = 'the libraries of llama.cpp are not installed';

/** The model as it is. */
function untouched(model: GgufModel): GgufOutput {
  return {
    name: 'copy.gguf',
    alignment: model.alignment,
    metadata: model.metadata.map((entry): GgufItem => ({ kind: 'copied', entry })),
    tensors: model.tensors.map(
      ({ name, shape, type, data }): GgufOutputTensor => ({
        name,
        shape,
        type,
        content: { kind: 'copy', ...data },
      }),
    ),
  };
}

/** The same file as new keys and given bytes. */
function encoded({ metadata = [], tensors = [], alignment = 32 }: BuildOptions): GgufOutput {
  const entries: BuildEntry[] = [...metadata];
  if (alignment !== 32) entries.push(['general.alignment', 'u32', alignment]);
  return {
    name: 'new.gguf',
    alignment,
    metadata: entries.map(itemOf),
    tensors: tensors.map(({ name, shape, type, bytes }) => ({
      name,
      shape,
      type,
      content: { kind: 'bytes', bytes: bytes ?? new Uint8Array() },
    })),
  };
}

function itemOf([key, type, value]: BuildEntry): GgufItem {
  switch (type) {
    case 'u8[]':
    case 'i8[]':
    case 'u16[]':
    case 'i16[]':
    case 'u32[]':
    case 'i32[]':
    case 'f32[]':
    case 'bool[]':
    case 'string[]':
    case 'u64[]':
    case 'i64[]':
    case 'f64[]': {
      if (typeof value !== 'object') throw new Error(key);
      const [elementType] = SPLIT[type];
      return { kind: 'array', key, elementType, values: value };
    }
    default:
      if (typeof value === 'object') throw new Error(key);
      return { kind: 'scalar', key, type, value };
  }
}

const SPLIT = {
  'u8[]': ['u8'],
  'i8[]': ['i8'],
  'u16[]': ['u16'],
  'i16[]': ['i16'],
  'u32[]': ['u32'],
  'i32[]': ['i32'],
  'f32[]': ['f32'],
  'bool[]': ['bool'],
  'string[]': ['string'],
  'u64[]': ['u64'],
  'i64[]': ['i64'],
  'f64[]': ['f64'],
} as const;

function asVersion3(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy[4] = 3;
  return copy;
}

describe('round trips', () => {
  test('an untouched model is written byte for byte, as version 3', async () => {
    await fc.assert(
      fc.asyncProperty(ggufOptions, async (options) => {
        const bytes = buildGguf(options);
        await using model = await openGguf(memorySource(bytes));
        expect(await encodeFile(layoutGguf(untouched(model)))).toEqual(asVersion3(bytes));
      }),
      { numRuns: 300 },
    );
  });

  test('new keys and tensors give the file that the specification says', async () => {
    await fc.assert(
      fc.asyncProperty(ggufOptions, async (options) => {
        const { file, offsets, lengths, dataOffset } = placeGguf(encoded(options));
        const bytes = await encodeFile(file);
        expect(bytes).toEqual(buildGguf({ ...options, version: 3 }));
        await using model = await openGguf(memorySource(bytes));
        expect(model.tensors.map(({ data }) => data.offset)).toEqual(offsets);
        expect(model.tensors.map(({ data }) => data.length)).toEqual(lengths);
        expect(model.notes).toEqual([]);
        for (const offset of offsets) expect((offset - dataOffset) % model.alignment).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  test('what is read is what was written', async () => {
    await fc.assert(
      fc.asyncProperty(ggufOptions, async (options) => {
        await using model = await openGguf(memorySource(buildGguf(options)));
        for (const [key, , value] of options.metadata ?? []) {
          const entry = model.entry(key);
          if (entry?.type === 'array') expect(await model.readArray(entry)).toEqual(value);
          else expect(model.value(key)).toEqual(value);
        }
        const expected = (options.tensors ?? []).map(({ name, shape, type }) => ({ name, shape, type }));
        expect(model.tensors.map(({ name, shape, type }) => ({ name, shape, type }))).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  test('copied keys that follow each other are one segment', async () => {
    const metadata = Array.from({ length: 50 }, (_, i): BuildEntry => [`key ${i}`, 'u32', i]);
    await using model = await openGguf(memorySource(buildGguf({ metadata })));
    expect(layoutGguf(untouched(model)).segments.map(({ kind }) => kind)).toEqual(['bytes', 'copy']);
  });

  const REAL = sharedPath('models/lm-tiny/lm-tiny-f16.gguf');
  test.skipIf(REAL === undefined)(
    `a real model comes out as it went in [${SHARED_ABSENT} → skipped]`,
    async () => {
      await using model = await openGguf(REAL ?? '');
      const source = new Uint8Array(model.bytes);
      await model.sources[0]?.readInto(0, source);
      const copy = await encodeFile(layoutGguf(untouched(model)));
      expect(Buffer.compare(copy, source)).toBe(0);
    },
  );
});

describe.skipIf(GGML === undefined)(`against ggml [${GGML_ABSENT} → skipped]`, () => {
  test('ggml reads the same head and writes the same bytes', async () => {
    await fc.assert(
      fc.asyncProperty(ggufOptions, async (options) => {
        // ggml's writer pads by 32 whatever the key says.
        const bytes = await encodeFile(layoutGguf(encoded({ ...options, alignment: 32 })));
        await using model = await openGguf(memorySource(bytes));
        const seen = GGML?.describe(bytes);
        expect(seen?.tensors.map(({ type, size }) => [type, size])).toEqual(
          model.tensors.map(({ type, data }) => [GGML_TYPES[type].id, data.length]),
        );
        if (model.tensors.length > 0) {
          expect(seen?.tensors.map(({ offset }) => (seen?.dataOffset ?? 0) + offset)).toEqual(
            model.tensors.map(({ data }) => data.offset),
          );
        }
        const head = GGML?.rewrite(bytes);
        // ggml writes shapes without trailing dimensions of 0 or 1; that is the planner's business here.
        const isTrimmed = (options.tensors ?? []).every(
          ({ shape }) => shape.length === 1 || (shape.at(-1) ?? 0) > 1,
        );
        if (isTrimmed) expect(bytes.subarray(0, head?.length)).toEqual(head);
      }),
      { numRuns: 200 },
    );
  });
});

describe('what no reader would take is not laid out', () => {
  const plain: GgufOutput = { name: 'o.gguf', metadata: [], tensors: [], alignment: 32 };
  const tensor = (change: Partial<GgufOutputTensor>): GgufOutput => ({
    ...plain,
    tensors: [
      {
        name: 't',
        shape: [32],
        type: 'q8_0',
        content: { kind: 'bytes', bytes: new Uint8Array(34) },
        ...change,
      },
    ],
  });
  const scalar = (value: Extract<GgufItem, { kind: 'scalar' }>): GgufOutput => ({
    ...plain,
    metadata: [value],
  });
  test.each<[string, GgufOutput, string]>([
    ['a payload of another length', tensor({ shape: [64] }), 'E_TENSOR_SIZE'],
    ['a row that is no whole block', tensor({ shape: [31] }), 'E_SHAPE'],
    ['no dimensions', tensor({ shape: [], type: 'f32' }), 'E_SHAPE'],
    ['five dimensions', tensor({ shape: [32, 1, 1, 1, 1] }), 'E_SHAPE'],
    ['half a dimension', tensor({ shape: [32, 0.5] }), 'E_SHAPE'],
    ['a name of 64 bytes', tensor({ name: 'n'.repeat(64) }), 'E_GGUF'],
    ['an empty name', tensor({ name: '' }), 'E_GGUF'],
    ['two equal names', { ...plain, tensors: [...tensor({}).tensors, ...tensor({}).tensors] }, 'E_DUPLICATE'],
    ['an empty key', scalar({ kind: 'scalar', key: '', type: 'u8', value: 1 }), 'E_GGUF'],
    ['u8 300', scalar({ kind: 'scalar', key: 'k', type: 'u8', value: 300 }), 'E_USAGE'],
    ['u32 −1', scalar({ kind: 'scalar', key: 'k', type: 'u32', value: -1 }), 'E_USAGE'],
    ['i32 1.5', scalar({ kind: 'scalar', key: 'k', type: 'i32', value: 1.5 }), 'E_USAGE'],
    ['bool 1', scalar({ kind: 'scalar', key: 'k', type: 'bool', value: 1 }), 'E_USAGE'],
    ['string 1', scalar({ kind: 'scalar', key: 'k', type: 'string', value: 1 }), 'E_USAGE'],
    ['f32 "1"', scalar({ kind: 'scalar', key: 'k', type: 'f32', value: '1' }), 'E_USAGE'],
    ['alignment 64 without its key', { ...plain, alignment: 64 }, 'E_ALIGN'],
    ['alignment 3', { ...plain, alignment: 3 }, 'E_ALIGN'],
    [
      'alignment 32 with the key 64',
      scalar({ kind: 'scalar', key: 'general.alignment', type: 'u32', value: 64 }),
      'E_ALIGN',
    ],
  ])('%s', (_, output, code) => {
    try {
      layoutGguf(output);
    } catch (error) {
      expect(isWhittleError(error) ? error.code : error).toBe(code);
      return;
    }
    throw new Error('it was laid out');
  });
});
