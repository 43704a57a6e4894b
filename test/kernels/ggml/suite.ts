/**
 * One suite for every family of ggml block types. The plain-TypeScript definition equals ggml's own library byte for byte (where
 * that is not installed: the digests of its output in test/fixtures/ggml/<family>.json), and the WebAssembly kernels equal the
 * definition, whether arrays live in their memory or outside, aligned or not, in rows wider than the stage, and without
 * touching a byte beside the target.
 *
 * `WHITTLE_WRITE_DIGESTS=1 npx vitest run test/kernels/ggml` writes the digests anew from the library.
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BLOCK_TYPES, type BlockFamily, type BlockType, isBlockType } from '../../../src/core/ggml-types.ts';
import { createRandom } from '../../../src/core/random.ts';
import { type Kernels, referenceKernels, wasmKernels } from '../../../src/kernels/index.ts';
import { ggmlOracle } from '../../oracle/ggml.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';
import { floatsOf, readSafetensors } from '../safetensors.ts';
import {
  type BlockInput,
  blockInputs,
  type Digests,
  digestOf,
  formsOf,
  hostileBlocks,
  type TypeDigests,
  valueBytes,
} from './inputs.ts';

const PAD = 64;
const CANARY = 0xc7;
/** More values than the kernels' stage takes. */
const WIDE = 1 << 20;

export interface FamilyOptions {
  /** A reason to leave out an input where ggml itself has no defined result for it. */
  readonly skip?: (type: BlockType, input: string, form: 'plain' | 'imatrix') => string | undefined;
  /** Property runs of the kernels; fewer for slow definitions. */
  readonly runs?: number;
}

const oracle = await ggmlOracle();
const created = await wasmKernels();

export function blockTypesOf(family: BlockFamily): BlockType[] {
  return Object.keys(BLOCK_TYPES).filter(
    (name): name is BlockType => isBlockType(name) && BLOCK_TYPES[name].family === family,
  );
}

export function describeFamily(family: BlockFamily, { skip, runs = 40 }: FamilyOptions = {}): void {
  const path = fileURLToPath(new URL(`../../fixtures/ggml/${family}.json`, import.meta.url));
  const write = process.env.WHITTLE_WRITE_DIGESTS !== undefined;
  const digests: Digests = existsSync(path) && !write ? JSON.parse(readFileSync(path, 'utf8')) : {};
  const fresh: Partial<Record<BlockType, TypeDigests>> = {};

  for (const type of blockTypesOf(family)) {
    const { bytes } = BLOCK_TYPES[type];
    const taken = (input: string, form: 'plain' | 'imatrix') => skip?.(type, input, form) === undefined;

    describe(`${type}, defined in TypeScript`, () => {
      for (const form of formsOf(type)) {
        const weights = form === 'plain' ? 'without importance' : 'with importance';
        test(`is byte-identical to ggml ${weights} on all inputs`, async () => {
          const kernels = referenceKernels();
          await kernels.prepareBlocks(type);
          const found: Record<string, string> = {};
          const failures: string[] = [];
          for (const input of blockInputs(type)) {
            if (!taken(input.name, form)) continue;
            const importance = form === 'plain' ? undefined : input.importance;
            const ours = encode(kernels, type, input, importance);
            if (oracle === undefined) {
              found[input.name] = await digestOf(ours);
              continue;
            }
            const expected = oracle.quantize(type, input.values, input.rowLength, importance);
            found[input.name] = await digestOf(expected);
            const difference = blockDifference(ours, expected, bytes);
            if (difference !== undefined) failures.push(`${input.name}: ${difference}`);
          }
          expect(failures).toEqual([]);
          if (write && oracle !== undefined) fresh[type] = { values: '', ...fresh[type], [form]: found };
          else expect(found).toEqual(digests[type]?.[form]);
        });

        const real = sharedPath('models/lm/model.safetensors');
        const absent = real === undefined ? ` (skipped: ${SHARED_ABSENT})` : '';
        test.skipIf(real === undefined || oracle === undefined)(
          `is byte-identical to ggml ${weights} on a model's weights${absent}`,
          async () => {
            const kernels = await fastest(type);
            for (const input of realInputs(real!)) {
              const importance = form === 'plain' ? undefined : input.importance;
              const ours = encode(kernels, type, input, importance);
              const expected = oracle!.quantize(type, input.values, input.rowLength, importance);
              expect(blockDifference(ours, expected, bytes), input.name).toBeUndefined();
            }
          },
        );
      }

      test('gives the values that ggml reads from any bytes', async () => {
        const kernels = referenceKernels();
        await kernels.prepareBlocks(type);
        const blocks = hostileBlocks(type);
        const values = decode(kernels, type, blocks);
        if (oracle !== undefined) {
          const expected = oracle.dequantize(type, blocks);
          expect(valueDifference(values, expected)).toBeUndefined();
        }
        const found = await digestOf(valueBytes(values));
        if (write && oracle !== undefined) {
          fresh[type] = { ...fresh[type], values: found };
          mkdirSync(new URL('.', `file://${path}`), { recursive: true });
          writeFileSync(path, `${JSON.stringify(fresh, null, 1)}\n`);
        } else expect(found).toBe(digests[type]?.values);
      });
    });

    describe.skipIf(created === undefined)(`${type} in WebAssembly`, () => {
      for (const form of formsOf(type)) {
        const weights = form === 'plain' ? 'without importance' : 'with importance';
        test(`equals the definition ${weights} on all inputs, inside and outside of its memory`, async () => {
          const reference = referenceKernels();
          await reference.prepareBlocks(type);
          await created!.prepareBlocks(type);
          const failures: string[] = [];
          for (const input of blockInputs(type)) {
            const importance = form === 'plain' ? undefined : input.importance;
            const expected = encode(reference, type, input, importance);
            for (const resident of [true, false]) {
              const ours = encodeGuarded(created!, type, input, importance, resident, 0);
              const difference = blockDifference(ours, expected, bytes);
              if (difference !== undefined)
                failures.push(`${input.name}, ${resident ? 'in' : 'out'}side: ${difference}`);
            }
          }
          expect(failures).toEqual([]);
        });

        test(`equals the definition ${weights} for any number of rows and blocks, at any alignment`, async () => {
          const reference = referenceKernels();
          await reference.prepareBlocks(type);
          await created!.prepareBlocks(type);
          fc.assert(
            fc.property(
              fc.integer({ min: 1, max: 4 }),
              fc.integer({ min: 1, max: 9 }),
              fc.boolean(),
              fc.integer({ min: 0, max: 15 }),
              fc.integer(),
              (rows, blocks, resident, skew, seed) => {
                const input = randomInput(type, rows, blocks, seed);
                const importance = form === 'plain' ? undefined : input.importance;
                const expected = encode(reference, type, input, importance);
                const ours = encodeGuarded(created!, type, input, importance, resident, skew);
                expect(blockDifference(ours, expected, bytes)).toBeUndefined();
              },
            ),
            { numRuns: runs, seed: 11 },
          );
        });

        test(`equals the definition ${weights} on a row wider than the stage`, async () => {
          const reference = referenceKernels();
          await reference.prepareBlocks(type);
          await created!.prepareBlocks(type);
          const input = wideInput(type);
          const importance = form === 'plain' ? undefined : input.importance;
          const expected = encode(reference, type, input, importance);
          for (const resident of [true, false]) {
            const ours = encodeGuarded(created!, type, input, importance, resident, 4);
            expect(blockDifference(ours, expected, bytes)).toBeUndefined();
          }
        });
      }

      test('gives the same values from any bytes, also from more than the stage takes', async () => {
        const reference = referenceKernels();
        await reference.prepareBlocks(type);
        await created!.prepareBlocks(type);
        const hostile = hostileBlocks(type);
        const many = new Uint8Array(
          hostile.length * Math.ceil((5 << 20) / 4 / (67 * BLOCK_TYPES[type].size)),
        );
        for (let i = 0; i < many.length; i += hostile.length) many.set(hostile, i);
        for (const blocks of [hostile, hostile.subarray(0, bytes), many]) {
          const expected = decode(reference, type, blocks);
          for (const [resident, skew] of [
            [true, 0],
            [true, 7],
            [false, 3],
          ] as const) {
            const ours = decodeGuarded(created!, type, blocks, resident, skew);
            expect(valueDifference(ours, expected)).toBeUndefined();
          }
        }
      });
    });
  }
}

async function fastest(type: BlockType): Promise<Kernels> {
  const kernels = created ?? referenceKernels();
  await kernels.prepareBlocks(type);
  return kernels;
}

function blockLength(type: BlockType, values: number): number {
  const { size, bytes } = BLOCK_TYPES[type];
  return (values / size) * bytes;
}

function encode(
  kernels: Kernels,
  type: BlockType,
  { values, rowLength }: BlockInput,
  importance: Float32Array | undefined,
): Uint8Array {
  const target = new Uint8Array(blockLength(type, values.length)).fill(CANARY);
  kernels.quantizeBlocks(type, values, rowLength, importance, target);
  return target;
}

/** A region of `length` bytes, `skew` off alignment, between canaries. */
function guarded(whole: Uint8Array, length: number, skew: number): { inner: Uint8Array; check(): void } {
  whole.fill(CANARY);
  const start = PAD + skew;
  return {
    inner: whole.subarray(start, start + length),
    check() {
      const beside = [...whole.subarray(0, start), ...whole.subarray(start + length)];
      expect(beside.every((byte) => byte === CANARY)).toBe(true);
    },
  };
}

function floatsAt(whole: Uint8Array, values: Float32Array, skew: number): Float32Array {
  const target = new Float32Array(whole.buffer, whole.byteOffset + 4 * (skew % 4), values.length);
  target.set(values);
  return target;
}

function encodeGuarded(
  kernels: Kernels,
  type: BlockType,
  input: BlockInput,
  importance: Float32Array | undefined,
  resident: boolean,
  skew: number,
): Uint8Array {
  const { values, rowLength } = input;
  const length = blockLength(type, values.length);
  const arena = resident ? kernels.arena(values.length * 4 + length + rowLength * 4 + 4096) : undefined;
  const area = (size: number) => arena?.u8(size) ?? new Uint8Array(size);
  const room = guarded(area(length + 2 * PAD + 16), length, skew);
  const own = floatsAt(area(values.length * 4 + 16), values, skew);
  const weights = importance && floatsAt(area(rowLength * 4 + 16), importance, skew + 1);
  kernels.quantizeBlocks(type, own, rowLength, weights, room.inner);
  room.check();
  expect(own.length === values.length && own[0] === values[0]).toBe(true);
  return room.inner.slice();
}

function decode(kernels: Kernels, type: BlockType, blocks: Uint8Array): Float32Array {
  const { size, bytes } = BLOCK_TYPES[type];
  const target = new Float32Array((blocks.length / bytes) * size);
  kernels.dequantizeBlocks(type, blocks, target);
  return target;
}

function decodeGuarded(
  kernels: Kernels,
  type: BlockType,
  blocks: Uint8Array,
  resident: boolean,
  skew: number,
): Float32Array {
  const { size, bytes } = BLOCK_TYPES[type];
  const count = (blocks.length / bytes) * size;
  const arena = resident ? kernels.arena(blocks.length + count * 4 + 4096) : undefined;
  const area = (length: number) => arena?.u8(length) ?? new Uint8Array(length);
  const source = area(blocks.length + 16).subarray(skew, skew + blocks.length);
  source.set(blocks);
  const room = guarded(area(count * 4 + 2 * PAD + 16), count * 4, 4 * (skew % 4));
  kernels.dequantizeBlocks(type, source, new Float32Array(room.inner.buffer, room.inner.byteOffset, count));
  room.check();
  return new Float32Array(room.inner.slice().buffer);
}

function randomInput(type: BlockType, rows: number, blocks: number, seed: number): BlockInput {
  const random = createRandom(seed);
  const rowLength = blocks * BLOCK_TYPES[type].size;
  const spread = random.uniform() < 0.3 ? 40 : 0;
  const coarse = random.uniform() < 0.3;
  let magnitude = 1;
  const values = Float32Array.from({ length: rows * rowLength }, (_, i) => {
    if (i % 16 === 0) magnitude = 2 ** Math.round((random.uniform() - 0.7) * spread);
    const value = coarse ? Math.round(random.normal() * 4) / 4 : random.normal();
    return random.uniform() < 0.02 ? 0 : value * magnitude;
  });
  const importance = Float32Array.from({ length: rowLength }, () =>
    random.uniform() < 0.1 ? 0 : random.normal() ** 2,
  );
  return { name: `seed ${seed}`, rowLength, values, importance };
}

/** Mostly zeros, which every definition passes quickly. */
function wideInput(type: BlockType): BlockInput {
  const rowLength = WIDE + BLOCK_TYPES[type].size;
  const random = createRandom(5);
  const importance = new Float32Array(rowLength).fill(0.5);
  const values = new Float32Array(rowLength);
  for (const start of [0, WIDE / 2, rowLength - 768]) {
    for (let i = start; i < start + 768; i++) {
      values[i] = random.normal();
      importance[i] = random.normal() ** 2;
    }
  }
  return { name: 'wide', rowLength, values, importance };
}

function realInputs(path: string): BlockInput[] {
  const tensors = readSafetensors(path);
  const random = createRandom(3);
  return ['model.embed_tokens.weight', 'model.layers.0.mlp.down_proj.weight'].map((name) => {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new Error(`${path} has no ${name}`);
    const rowLength = tensor.shape[1]!;
    return {
      name,
      rowLength,
      values: floatsOf(tensor).slice(0, 64 * rowLength),
      importance: Float32Array.from({ length: rowLength }, () => random.normal() ** 2),
    };
  });
}

/** What differs: how many blocks and bytes, the first block, a sample; undefined where nothing does. */
export function blockDifference(found: Uint8Array, expected: Uint8Array, bytes: number): string | undefined {
  if (found.length !== expected.length) return `${found.length} bytes, expected ${expected.length}`;
  const blocks = new Set<number>();
  let first = -1;
  let count = 0;
  for (let i = 0; i < found.length; i++) {
    if (found[i] === expected[i]) continue;
    if (first < 0) first = i;
    count++;
    blocks.add(Math.floor(i / bytes));
  }
  if (first < 0) return undefined;
  const block = Math.floor(first / bytes);
  const start = first - (first % bytes === 0 ? 0 : 1);
  const sample = (data: Uint8Array) =>
    Array.from(data.subarray(start, start + 12), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return `${count} bytes in ${blocks.size} of ${found.length / bytes} blocks differ; block ${block} from byte ${start - block * bytes}: ${sample(found)}, expected ${sample(expected)}`;
}

export function valueDifference(found: Float32Array, expected: Float32Array): string | undefined {
  const a = new Uint32Array(valueBytes(found).buffer);
  const b = new Uint32Array(valueBytes(expected).buffer);
  if (a.length !== b.length) return `${a.length} values, expected ${b.length}`;
  const at = a.findIndex((word, i) => word !== b[i]);
  if (at < 0) return undefined;
  const count = a.reduce((sum, word, i) => sum + (word === b[i] ? 0 : 1), 0);
  return `${count} of ${a.length} values differ; value ${at}: ${found[at]}, expected ${expected[at]}`;
}
