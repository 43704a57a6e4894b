/**
 * Values that llama.cpp does not load: where `llama_model_quantize` refuses a model for them, so does the run here, whether the
 * weight is converted or only copied.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { GGML_TYPES, type GgmlType, isBlockType } from '../../../src/core/ggml-types.ts';
import { isWhittleError } from '../../../src/errors.ts';
import { selectKernels } from '../../../src/kernels/index.ts';
import { buildGguf } from '../../formats/gguf/build-gguf.ts';
import { llamaOracle } from '../../oracle/llama.ts';
import { madeByUs, payload, smallModel } from './whole-files.ts';

const oracle = llamaOracle();
const folder = mkdtempSync(join(tmpdir(), 'whittle-nonfinite-'));
afterAll(async () => {
  await oracle?.close();
  rmSync(folder, { recursive: true, force: true });
});

const kernels = await selectKernels();
for (const type of ['q8_0', 'q4_K', 'mxfp4'] as const) await kernels.prepareBlocks(type);

const MODEL = smallModel({ layers: 1, inner: 256 });

/** The model with `spoil` done to the bytes of one tensor of the given type. */
function spoiled(name: string, type: GgmlType, spoil: (bytes: Uint8Array) => void): string {
  const path = join(folder, 'model.gguf');
  const tensors = MODEL.tensors.map((tensor) => {
    const count = tensor.shape.reduce((product, dimension) => product * dimension, 1);
    const values = Float32Array.from({ length: count }, (_, i) => Math.sin(i) / 8);
    const own = tensor.name === name ? type : tensor.type;
    const bytes = encoded(values, tensor.shape[0] ?? 1, own);
    if (tensor.name === name) spoil(bytes);
    return { ...tensor, type: own, bytes };
  });
  writeFileSync(path, buildGguf({ metadata: MODEL.metadata, tensors }));
  return path;
}

function encoded(values: Float32Array, columns: number, type: GgmlType): Uint8Array {
  if (!isBlockType(type)) return payload(values, type);
  const { size, bytes } = GGML_TYPES[type];
  const target = new Uint8Array((values.length / size) * bytes);
  kernels.quantizeBlocks(type, values, columns, undefined, target);
  return target;
}

const last = (...bytes: number[]) => {
  return (target: Uint8Array) => target.set(bytes, target.length - bytes.length);
};
const first = (...bytes: number[]) => {
  return (target: Uint8Array) => target.set(bytes, 0);
};

const NAN_F32 = last(0, 0, 0xc0, 0x7f);
const CASES: readonly (readonly [
  what: string,
  name: string,
  type: GgmlType,
  spoil: (bytes: Uint8Array) => void,
])[] = [
  ['NaN in a vector', 'output_norm.weight', 'f32', NAN_F32],
  ['Inf in a vector', 'blk.0.attn_norm.weight', 'f32', last(0, 0, 0x80, 0x7f)],
  ['NaN in a vector of halves', 'output_norm.weight', 'f16', last(1, 0x7e)],
  ['NaN in a weight', 'blk.0.attn_q.weight', 'f16', last(0, 0x7e)],
  ['-Inf in a weight of bf16', 'blk.0.attn_q.weight', 'bf16', last(0x80, 0xff)],
  ['an infinite scale', 'blk.0.attn_q.weight', 'q8_0', first(0, 0x7c)],
  ['an infinite least value', 'blk.0.attn_q.weight', 'q4_K', (bytes) => bytes.set([0, 0x7c], 2)],
  ['an exponent that is NaN', 'blk.0.attn_q.weight', 'mxfp4', first(0xff)],
];

test.each(CASES)('%s is E_NONFINITE with the tensor, to every target', async (_, name, type, spoil) => {
  const input = spoiled(name, type, spoil);
  for (const [to, fileType] of [
    ['Q4_K_M', 15],
    ['Q8_0', 7],
    ['F16', 1],
    ['COPY', 0],
  ] as const) {
    const error = await madeByUs(input, { to, allowRequantize: true }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(isWhittleError(error) && error.code, to).toBe('E_NONFINITE');
    expect(isWhittleError(error) && error.details.tensor, to).toBe(name);
    const copy = to === 'COPY';
    const output = join(folder, 'theirs.gguf');
    const answer = await oracle?.quantize({ input, output, fileType, copy, allowRequantize: true });
    expect(answer?.outcome ?? 'refused', to).toBe('refused');
  }
});

test('finite values are copied as they are', async () => {
  const input = spoiled('blk.0.attn_q.weight', 'q8_0', () => undefined);
  const made = await madeByUs(input, { to: 'COPY' });
  const output = join(folder, 'theirs.gguf');
  expect((await oracle?.quantize({ input, output, fileType: 0, copy: true }))?.outcome ?? 'done').toBe(
    'done',
  );
  expect(made.size).toBe(1);
});
