/** Cases 1 to 37 of the list of bad GGUF input: each literal beside the rule that it breaks. 38 to 40 stand in split.test.ts. */

import { describe, expect, test } from 'vitest';
import { formatError, isWhittleError, type WhittleError } from '../../../src/errors.ts';
import { openGguf } from '../../../src/formats/gguf/open.ts';
import type { Limits } from '../../../src/formats/limits.ts';
import { memorySource } from '../../../src/io/memory-source.ts';
import {
  type BuildTensor,
  buildGguf,
  ggufString,
  ggufValue,
  joined,
  pad,
  tensorInfo,
  text,
  u32,
  u64,
} from './build-gguf.ts';
import { countingSource } from './counting-source.ts';

async function errorOf(bytes: Uint8Array, limits: Partial<Limits> = {}): Promise<WhittleError | undefined> {
  const counting = countingSource(memorySource(bytes, 'bad.gguf'));
  try {
    await (await openGguf(counting.source, { limits })).close();
    return undefined;
  } catch (error) {
    if (!isWhittleError(error)) throw error;
    expect(error.details.file).toBe('bad.gguf');
    // A sentence that tells what to do.
    expect(error.details.hint).toMatch(/^\S.{8,}[.?!)]$/s);
    expect(counting.isClosed).toBe(true);
    expect(counting.largest).toBeLessThanOrEqual(bytes.length);
    return error;
  }
}

const ALL_ONES = 2n ** 64n - 1n;

/** A head with these keys and tensors, each given as its raw bytes. */
function raw(
  keys: readonly Uint8Array[],
  tensors: readonly Uint8Array[] = [],
  ...data: Uint8Array[]
): Uint8Array {
  const head = joined(text('GGUF'), u32(3), u64(tensors.length), u64(keys.length), ...keys, ...tensors);
  return joined(pad(head, 32), ...data);
}

function key(name: string, ...value: Uint8Array[]): Uint8Array {
  return joined(ggufString(name), ...value);
}

const F32: BuildTensor = { name: 'blk.0.w', shape: [8], type: 'f32' };

/** A tensor description with parts replaced. */
function info(
  change: { name?: Uint8Array; dims?: Uint8Array; type?: number; offset?: bigint | number } = {},
): Uint8Array {
  return joined(
    change.name ?? ggufString('blk.0.w'),
    change.dims ?? joined(u32(1), u64(8)),
    u32(change.type ?? 0),
    u64(change.offset ?? 0),
  );
}

function dims(...values: (number | bigint)[]): Uint8Array {
  return joined(u32(values.length), ...values.map((value) => u64(value)));
}

describe('files that are not GGUF are named', () => {
  test.each<[string, Uint8Array, string]>([
    ['1 nothing', new Uint8Array(), 'E_EMPTY'],
    ['2 three bytes', text('GGU'), 'E_TRUNCATED'],
    ['2 the magic alone', text('GGUF'), 'E_TRUNCATED'],
    ['3 FUGG', joined(text('FUGG'), new Uint8Array(40)), 'E_MAGIC'],
    ['3 GGML', joined(text('GGML'), new Uint8Array(40)), 'E_MAGIC'],
    ['3 ggml as a number', joined(text('lmgg'), new Uint8Array(40)), 'E_MAGIC'],
    ['3 GGJT', joined(text('tjgg'), new Uint8Array(40)), 'E_MAGIC'],
    ['3 zeros', new Uint8Array(64), 'E_MAGIC'],
    ['3 chance', Uint8Array.of(0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5), 'E_MAGIC'],
    [
      '4 a Git LFS pointer',
      text('version https://git-lfs.github.com/spec/v1\noid sha256:00\n'),
      'E_LFS_POINTER',
    ],
    ['5 a web page', text('<!DOCTYPE html><html><body>404</body></html>'), 'E_NOT_A_MODEL'],
    ['5 a JSON text', text('{"error":"Repository not found"}'), 'E_NOT_A_MODEL'],
    ['5 any text', text('Entry not found'), 'E_NOT_A_MODEL'],
    ['a zip (PyTorch)', joined(text('PK\u0003\u0004'), new Uint8Array(30)), 'E_PICKLE'],
    ['a pickle', Uint8Array.of(0x80, 2, 0x7d, 0x71, 0), 'E_PICKLE'],
    ['safetensors', joined(u64(2), text('{}')), 'E_NOT_A_MODEL'],
    ['an ONNX model', Uint8Array.of(8, 9, 0x12, 3, 0x61, 0x62, 0x63), 'E_NOT_A_MODEL'],
    ['gzip', Uint8Array.of(0x1f, 0x8b, 8, 0), 'E_NOT_A_MODEL'],
    [
      'an importance matrix',
      joined(u32(1), u32(19), text('blk.0.attn_k.weight'), u32(5), u32(1), u32(0)),
      'E_NOT_A_MODEL',
    ],
  ])('%s', async (_, bytes, code) => {
    expect((await errorOf(bytes))?.code).toBe(code);
  });
});

describe('6 versions', () => {
  test.each([
    [0, 'is 0'],
    [1, 'version 1, of August 2023'],
    [4, 'newer than whittle'],
    [0x03000000, 'big-endian'],
  ])('%i is said to be what it is', async (version, message) => {
    const error = await errorOf(buildGguf({ version }));
    expect(error?.code).toBe('E_VERSION');
    expect(error?.message).toContain(message);
    expect(error?.details.offset).toBe(4);
  });
});

describe('counts are compared with limits and with the file before anything is held', () => {
  const head = (tensors: number | bigint, keys: number | bigint): Uint8Array =>
    joined(text('GGUF'), u32(3), u64(tensors), u64(keys), new Uint8Array(40));
  test.each<[string, Uint8Array, string, number]>([
    ['7 2^64 − 1 tensors', head(ALL_ONES, 0), 'E_LIMIT', 8],
    ['8 2^64 − 1 keys', head(0, ALL_ONES), 'E_LIMIT', 16],
    ['2^63 tensors', head(2n ** 63n, 0), 'E_LIMIT', 8],
    ['a million tensors in 40 bytes', head(1_000_000, 0), 'E_TRUNCATED', 8],
    ['a million keys in 40 bytes', head(0, 1_000_000), 'E_TRUNCATED', 16],
    ['18 an array of 2^62', raw([key('k', u32(9), u32(4), u64(2n ** 62n))]), 'E_LIMIT', 24 + 9 + 8],
    [
      'an array of a million in 100 bytes',
      raw([key('k', u32(9), u32(4), u64(1_000_000))]),
      'E_TRUNCATED',
      24 + 9 + 16,
    ],
    [
      'a million texts in 100 bytes',
      raw([key('k', u32(9), u32(8), u64(1_000_000))]),
      'E_TRUNCATED',
      24 + 9 + 16,
    ],
  ])('%s', async (_, bytes, code, offset) => {
    const error = await errorOf(bytes);
    expect([error?.code, error?.details.offset]).toEqual([code, offset]);
  });

  test.each<[keyof Limits, number]>([
    ['metadataBytes', 64],
    ['skeletonBytes', 20],
    ['heapBytes', 500],
    ['stringBytes', 4],
    ['arrayElements', 2],
    ['tensors', 1],
  ])('the limit "%s" can be set, and its error names it', async (limit, value) => {
    const bytes = buildGguf({
      metadata: [
        ['first', 'string', 'some text'],
        ['second', 'string[]', ['a', 'b', 'c']],
      ],
      tensors: [F32, { ...F32, name: 'other' }],
    });
    expect(await errorOf(bytes)).toBeUndefined();
    const error = await errorOf(bytes, { [limit]: value });
    expect(error?.code).toBe('E_LIMIT');
    expect(error?.details.expected).toBe(`at most ${value} (limit "${limit}")`);
  });
});

describe('metadata', () => {
  test.each<[string, Uint8Array, string]>([
    [
      '10 a key longer than the file',
      raw([joined(u64(1000), text('key'), u32(0), Uint8Array.of(1))]),
      'E_TRUNCATED',
    ],
    [
      '10 a key of 2^64 − 1',
      raw([joined(u64(ALL_ONES), text('key'), u32(0), Uint8Array.of(1))]),
      'E_TRUNCATED',
    ],
    ['11 an empty key', raw([key('', u32(0), Uint8Array.of(1))]), 'E_GGUF'],
    [
      '12 a key that is not UTF-8',
      raw([joined(u64(2), Uint8Array.of(0xc3, 0x28), u32(0), Uint8Array.of(1))]),
      'E_GGUF',
    ],
    ['14 a key twice', raw([key('k', ggufValue('u8', 1)), key('k', ggufValue('u8', 2))]), 'E_DUPLICATE'],
    ['16 value type 13', raw([key('k', u32(13), u64(0))]), 'E_GGUF'],
    ['16 value type 255', raw([key('k', u32(255), u64(0))]), 'E_GGUF'],
    ['16 element type 13', raw([key('k', u32(9), u32(13), u64(1), u64(0))]), 'E_GGUF'],
    ['17 an array of arrays', raw([key('k', u32(9), u32(9), u64(1), u32(9), u64(0))]), 'E_GGUF'],
    [
      '17 five arrays deep',
      raw([key('k', u32(9), ...new Array<Uint8Array>(5).fill(joined(u32(9), u64(1))))]),
      'E_GGUF',
    ],
    [
      '19 a text of an array past the end',
      raw([key('k', u32(9), u32(8), u64(2), ggufString('a'), u64(1000))]),
      'E_TRUNCATED',
    ],
    [
      '19 a text of 2^64 − 1 in an array',
      raw([key('k', u32(9), u32(8), u64(2), ggufString('a'), u64(ALL_ONES))]),
      'E_TRUNCATED',
    ],
    ['a text past the end', raw([key('k', u32(8), u64(1000), text('abc'))]), 'E_TRUNCATED'],
    ['20 a bool of 2', raw([key('k', u32(7), Uint8Array.of(2))]), 'E_GGUF'],
    [
      '20 a bool of 255 in an array',
      raw([key('k', u32(9), u32(7), u64(2), Uint8Array.of(1, 255))]),
      'E_GGUF',
    ],
    ['21 alignment 0', raw([key('general.alignment', ggufValue('u32', 0))]), 'E_ALIGN'],
    ['21 alignment 3', raw([key('general.alignment', ggufValue('u32', 3))]), 'E_ALIGN'],
    ['21 alignment 13', raw([key('general.alignment', ggufValue('u32', 13))]), 'E_ALIGN'],
    ['21 alignment 2^21', raw([key('general.alignment', ggufValue('u32', 2 ** 21))]), 'E_ALIGN'],
    ['21 alignment 2^31', raw([key('general.alignment', ggufValue('u32', 2 ** 31))]), 'E_ALIGN'],
    ['21 alignment of type i32', raw([key('general.alignment', ggufValue('i32', 32))]), 'E_ALIGN'],
    ['21 alignment of type u64', raw([key('general.alignment', ggufValue('u64', 32))]), 'E_ALIGN'],
    ['21 alignment of type string', raw([key('general.alignment', ggufValue('string', '32'))]), 'E_ALIGN'],
    ['21 alignment as an array', raw([key('general.alignment', ggufValue('u32[]', [32]))]), 'E_ALIGN'],
  ])('%s', async (_, bytes, code) => {
    const error = await errorOf(bytes);
    expect(error?.code).toBe(code);
    expect(error?.details.offset).toBeGreaterThanOrEqual(8);
  });

  test('13 control characters of a key are escaped where it is shown', async () => {
    const twice = key('a\u001b[31m\u0000', ggufValue('u8', 1));
    const error = await errorOf(raw([twice, twice]));
    expect(error === undefined ? '' : formatError(error)).toContain('"a\\u001b[31m\\u0000"');
  });
});

describe('tensors', () => {
  const data = new Uint8Array(32);
  test.each<[string, Uint8Array, string]>([
    ['22 a name of 64 bytes', raw([], [info({ name: ggufString('n'.repeat(64)) })], data), 'E_GGUF'],
    [
      '22 a name longer than the file',
      raw([], [info({ name: joined(u64(9999), text('n')) })], data),
      'E_TRUNCATED',
    ],
    ['23 a name twice', raw([], [info(), info({ offset: 32 })], data, data), 'E_DUPLICATE'],
    ['24 an empty name', raw([], [info({ name: ggufString('') })], data), 'E_GGUF'],
    ['a name with a NUL', raw([], [info({ name: ggufString('a\u0000b') })], data), 'E_GGUF'],
    [
      'a name that is not UTF-8',
      raw([], [info({ name: joined(u64(1), Uint8Array.of(0xff)) })], data),
      'E_GGUF',
    ],
    ['25 five dimensions', raw([], [info({ dims: dims(8, 1, 1, 1, 1) })], data), 'E_SHAPE'],
    ['25 2^32 − 1 dimensions', raw([], [info({ dims: u32(2 ** 32 - 1) })], data), 'E_SHAPE'],
    ['26 dimension −1', raw([], [info({ dims: dims(ALL_ONES) })], data), 'E_SHAPE'],
    ['27 a product past 2^64', raw([], [info({ dims: dims(2n ** 40n, 2n ** 40n) })], data), 'E_SHAPE'],
    [
      '27 a product that wraps to 4',
      raw([], [info({ dims: dims(2n ** 42n + 1n, 4, 2n ** 20n) })], data),
      'E_SHAPE',
    ],
    ['27 bytes past 2^53', raw([], [info({ dims: dims(2n ** 48n, 16) })], data), 'E_SHAPE'],
    ['29 type 777', raw([], [info({ type: 777 })], data), 'E_DTYPE'],
    ['29 type 4 (q4_2)', raw([], [info({ type: 4 })], data), 'E_DTYPE'],
    ['29 type 5 (q4_3)', raw([], [info({ type: 5 })], data), 'E_DTYPE'],
    ['29 type 31', raw([], [info({ type: 31 })], data), 'E_DTYPE'],
    ['29 type 33', raw([], [info({ type: 33 })], data), 'E_DTYPE'],
    ['29 type −1', raw([], [info({ type: 2 ** 32 - 1 })], data), 'E_DTYPE'],
    ['30 a row of 8 in blocks of 32', raw([], [info({ type: 8 })], data), 'E_SHAPE'],
    ['30 a row of 32 in blocks of 256', raw([], [info({ type: 12, dims: dims(32) })], data), 'E_SHAPE'],
    ['30 one value in blocks of 32', raw([], [info({ type: 8, dims: dims() })], data), 'E_SHAPE'],
    ['31 an offset off the alignment', raw([], [info({ offset: 4 })], data, data), 'E_OFFSET'],
    ['32 a hole before a tensor', raw([], [info({ offset: 32 })], data, data), 'E_OFFSET'],
    [
      '33 two tensors in one place',
      raw([], [info(), info({ name: ggufString('b') })], data, data),
      'E_OFFSET',
    ],
    ['34 a tensor larger than the file', raw([], [info({ dims: dims(1_000_000) })], data), 'E_TRUNCATED'],
    ['34 a tensor of a petabyte', raw([], [info({ dims: dims(2 ** 48) })], data), 'E_TRUNCATED'],
    ['35 offset 2^64 − 1', raw([], [info({ offset: ALL_ONES })], data), 'E_OFFSET'],
    ['36 the last tensor one byte short', raw([], [info()], data.subarray(1)), 'E_TRUNCATED'],
    ['36 no data at all', raw([], [info()]), 'E_TRUNCATED'],
    [
      'the padding of the head is missing',
      buildGguf({ tensors: [{ ...F32, shape: [0] }] }).subarray(0, 24 + 35),
      'E_TRUNCATED',
    ],
  ])('%s', async (_, bytes, code) => {
    const error = await errorOf(bytes);
    expect(error?.code).toBe(code);
    expect(error?.details.offset).toBeGreaterThanOrEqual(8);
  });

  test('errors about a tensor name it, and say what was expected and found', async () => {
    const error = await errorOf(raw([], [info({ offset: 64 })], data));
    expect(error?.details).toMatchObject({
      tensor: 'blk.0.w',
      expected: 'offset 0: right behind the tensor before it, padded',
      found: 'offset 64',
    });
    expect((await errorOf(raw([], [info({ type: 5 })], data)))?.details.found).toBe(
      'type 5 (q4_3, removed in 2023)',
    );
    expect((await errorOf(raw([], [info({ dims: dims(9) })], data)))?.details).toMatchObject({
      tensor: 'blk.0.w',
      expected: '36 bytes',
      found: '32 bytes',
    });
  });

  test.each<[string, Uint8Array]>([
    ['25 no dimensions are one value', raw([], [info({ dims: dims() })], data)],
    ['28 a dimension of 0 has no bytes', raw([], [info({ dims: dims(8, 0) })])],
    ['37 bytes behind the last tensor are a note', raw([], [info()], data, data)],
    ['a name of 63 bytes', raw([], [info({ name: ggufString('n'.repeat(63)) })], data)],
  ])('accepted: %s', async (_, bytes) => {
    expect(await errorOf(bytes)).toBeUndefined();
  });
});

describe('9 a small file, cut and flipped at every byte', () => {
  const tensors: BuildTensor[] = [
    { name: 'token_embd.weight', shape: [8, 2], type: 'f32', bytes: new Uint8Array(64).fill(1) },
    { name: 'blk.0.w', shape: [32, 1], type: 'q8_0', bytes: new Uint8Array(34).fill(2) },
  ];
  const whole = buildGguf({
    metadata: [
      ['general.architecture', 'string', 'llama'],
      ['general.alignment', 'u32', 32],
      ['tokens', 'string[]', ['<s>', 'a', '']],
      ['flags', 'bool[]', [true, false]],
      ['scale', 'f32', 0.5],
    ],
    tensors,
  });
  /** The last 30 bytes are padding that llama.cpp does not need. */
  const needed = whole.length - 30;

  test('every cut is E_TRUNCATED with its place, or the last padding', async () => {
    for (let length = 1; length < whole.length; length++) {
      const error = await errorOf(whole.subarray(0, length));
      if (length >= needed) expect(error).toBeUndefined();
      else expect([length, error?.code]).toEqual([length, 'E_TRUNCATED']);
      if (error !== undefined) expect(error.details.offset).toBeLessThanOrEqual(length);
    }
  });

  test('every flipped byte opens or is refused with a code', async () => {
    for (let at = 0; at < whole.length; at++) {
      for (const mask of [1, 0x80, 0xff]) {
        const bytes = whole.slice();
        bytes[at] = (bytes[at] ?? 0) ^ mask;
        await errorOf(bytes);
      }
    }
  });

  test('a head that is cut within a description says which', async () => {
    const head = joined(text('GGUF'), u32(3), u64(1), u64(0));
    const description = tensorInfo(F32, 0);
    const error = await errorOf(joined(head, description.subarray(0, 30)));
    expect(error?.code).toBe('E_TRUNCATED');
    expect(error?.message).toContain('blk.0.w');
  });
});
