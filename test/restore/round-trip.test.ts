/** Every mode comes back: float operators only, the values that the runtime computes with, and answers that agree. */

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compareModels } from '../../src/compress/compare.ts';
import { dequantizeModel } from '../../src/compress/dequantize.ts';
import { compress } from '../../src/compress.ts';
import { WhittleError } from '../../src/errors.ts';
import { dtypeOfNumber } from '../../src/formats/onnx/data-types.ts';
import { allGraphs } from '../../src/formats/onnx/graph.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { MODE_NAMES } from '../../src/planning/presets.ts';
import type { Recipe, Scheme } from '../../src/planning/recipe.ts';
import { floats, graph, model, node, value, withFolder, writeModel } from '../formats/build-onnx.ts';
import { maxAbs, worstCosine } from '../models/engine.ts';
import { everyOperator, identityAnswers, normals, productModel, tokenAnswers } from './networks.ts';

async function quantized(file: string, to: string | Recipe): Promise<string> {
  const report = await compress(file, { to: [to], verify: false, threads: 1 });
  return report.results[0]?.files[0]?.path ?? '';
}

/** Operators and the types of constants. */
async function anatomy(file: string): Promise<{ operators: Set<string>; types: Set<string> }> {
  const model = await openOnnx(file);
  const operators = new Set<string>();
  const types = new Set<string>();
  for (const { graph } of allGraphs(model.proto)) {
    for (const { opType = '' } of graph.node) operators.add(opType);
    for (const { dataType } of graph.initializer) types.add(dtypeOfNumber(dataType) ?? '?');
  }
  await model.close();
  return { operators, types };
}

const FLOAT_OPERATORS = ['Add', 'Conv', 'Gather', 'Gemm', 'LSTM', 'MatMul', 'Reshape', 'Transpose'];
/**
 * Where the runtime rounds activations as well, which floats do not: dynamic int8 (and signed weights saturate on some machines),
 * q2's accuracy level, and DequantizeLinear, which onnxruntime fuses into a product of integers.
 */
const APPROXIMATE: Record<string, number> = {
  q8: 0.99,
  int8: 0.95,
  uint8: 0.99,
  q2: 0.999,
  q2f16: 0.999,
  'int8-qdq': 0.999,
  'int4-qdq': 0.999,
};

test.each(MODE_NAMES)('%s comes back as a float32 model that answers as the quantized one', async (mode) => {
  await withFolder(async (folder) => {
    const original = await writeModel(folder, everyOperator());
    const small = await quantized(original, mode);
    const { files, tensors, bytes, inputBytes } = await dequantizeModel(small, { threads: 1 });
    const back = files[0]?.path ?? '';
    expect(back).toBe(small.replace('.onnx', '_f32.onnx'));
    expect(tensors.length).toBeGreaterThan(0);
    expect(bytes).toBeGreaterThan(inputBytes);
    const { operators, types } = await anatomy(back);
    expect([...operators].filter((name) => !FLOAT_OPERATORS.includes(name))).toEqual([]);
    expect([...types].sort()).toEqual(['f32', 'int64']);
    const cosine = worstCosine(await tokenAnswers(small), await tokenAnswers(back));
    expect(cosine).toBeGreaterThan(APPROXIMATE[mode] ?? 0.99999);
    const { weights, onlyInA, onlyInB } = await compareModels(small, back, { verify: false });
    expect(weights.filter(({ sqnr }) => sqnr !== Infinity)).toEqual([]);
    expect([...onlyInA, ...onlyInB].filter((name) => !/_f16$/.test(name))).toEqual([]);
    const names = weights.map(({ name }) => name);
    for (const name of ['table', 'w1', 'lw', 'lr', 'w2', 'cw']) expect(names).toContain(name);
    // In the original's layout: elements that were exchanged would give less than 0 dB.
    const lost = await compareModels(original, back, { verify: false });
    const matrices = lost.weights.filter(({ name }) => !name.startsWith('b') && !name.endsWith('b'));
    const floor = mode.startsWith('q2') ? 3 : 12;
    expect(matrices.filter(({ sqnr }) => sqnr < floor)).toEqual([]);
  });
});

test.each(['q4', 'q8', 'bnb4', 'fp8', 'int4-qdq'])(
  '%s as f16 keeps float32 answers within f16',
  async (mode) => {
    await withFolder(async (folder) => {
      const original = await writeModel(folder, everyOperator());
      const small = await quantized(original, mode);
      const wide = await dequantizeModel(small, { threads: 1 });
      const half = await dequantizeModel(small, { to: 'f16', threads: 1, output: join(folder, 'sub') });
      expect(half.files[0]?.path).toMatch(/sub[\\/]model_\w+_f16\.onnx$/);
      expect(half.bytes).toBeLessThan(wide.bytes);
      const [a, b] = [wide, half].map(({ files }) => files[0]?.path ?? '');
      expect(worstCosine(await tokenAnswers(a ?? ''), await tokenAnswers(b ?? ''))).toBeGreaterThan(0.99999);
    });
  },
);

const nbits = (bits: 2 | 4 | 8, symmetric: boolean, zeroPoints?: 'real'): Recipe => ({
  name: `nbits${bits}`,
  rules: [
    {
      match: { opType: ['MatMul'] },
      scheme: { as: 'matmul-nbits', bits, blockSize: 16, symmetric, accuracyLevel: 0, zeroPoints },
    },
  ],
});

test.each([
  ['2 bits', nbits(2, false)],
  ['4 bits', nbits(4, true)],
  ['4 bits with zero points', nbits(4, false)],
  ['2 bits with real zero points', nbits(2, false, 'real')],
  ['4 bits with real zero points', nbits(4, false, 'real')],
  ['8 bits', nbits(8, true)],
  ['bnb4', 'bnb4'],
  ['fp8', 'fp8'],
  ['int4-qdq', 'int4-qdq'],
  ['int8-qdq', 'int8-qdq'],
])('%s: the weights are those that onnxruntime multiplies with', async (_, mode) => {
  await withFolder(async (folder) => {
    const original = await writeModel(folder, productModel(40, 72));
    const small = await quantized(original, mode);
    const { files } = await dequantizeModel(small, { threads: 1 });
    const seen = (await identityAnswers(small, 40)).get('y') ?? new Float32Array();
    const back = (await identityAnswers(files[0]?.path ?? '', 40)).get('y') ?? new Float32Array();
    expect(seen.length).toBe(40 * 72);
    expect(maxAbs(seen, back)).toBeLessThan(2e-6);
  });
});

const schemes: readonly [string, Scheme, string[]][] = [
  ['bf16 with Cast', { as: 'cast', type: 'bf16', scale: 'none' }, ['MatMul', 'Conv']],
  ['f16 with Cast', { as: 'cast', type: 'f16', scale: 'none' }, ['MatMul', 'LSTM']],
  ['f8_e5m2 without scale', { as: 'cast', type: 'f8_e5m2', scale: 'none' }, ['MatMul', 'Gemm']],
  ['f8_e4m3fn per channel', { as: 'cast', type: 'f8_e4m3fn', scale: 'channel' }, ['Gemm', 'Conv', 'Gather']],
  ['uint8 per tensor', { as: 'qdq', type: 'uint8', granularity: 'tensor', blockSize: 0 }, ['Gather', 'LSTM']],
  ['uint4 blocks', { as: 'qdq', type: 'uint4', granularity: 'block', blockSize: 16 }, ['Gemm']],
  ['uint4 blocks of filters', { as: 'qdq', type: 'uint4', granularity: 'block', blockSize: 32 }, ['Conv']],
  ['a 4-bit table', { as: 'gather-block', bits: 4, blockSize: 16, symmetric: true }, ['Gather']],
  ['an 8-bit table', { as: 'gather-block', bits: 8, blockSize: 32, symmetric: false }, ['Gather']],
  ['fp4 blocks', { as: 'bnb4', codebook: 'fp4', blockSize: 32 }, ['Gemm']],
  [
    'uint8 per tensor, computed in integers',
    { as: 'dynamic-int8', weightType: 'uint8', perChannel: false, reduceRange: true },
    ['MatMul', 'Gemm', 'Conv'],
  ],
];

test.each(schemes)('%s comes back from a recipe of its own', async (_, scheme, opType) => {
  await withFolder(async (folder) => {
    const original = await writeModel(folder, everyOperator());
    const small = await quantized(original, { name: 'own', rules: [{ match: { opType }, scheme }] });
    const { files, tensors } = await dequantizeModel(small, { threads: 1 });
    const back = files[0]?.path ?? '';
    expect(tensors.length).toBe(opType.length + (opType.includes('LSTM') ? 1 : 0));
    const { operators, types } = await anatomy(back);
    expect([...operators].filter((name) => !FLOAT_OPERATORS.includes(name))).toEqual([]);
    expect([...types].sort()).toEqual(['f32', 'int64']);
    const least = scheme.as === 'dynamic-int8' ? 0.98 : 0.999;
    expect(worstCosine(await tokenAnswers(small), await tokenAnswers(back))).toBeGreaterThan(least);
    const { weights } = await compareModels(small, back, { verify: false });
    expect(weights.filter(({ sqnr }) => sqnr !== Infinity)).toEqual([]);
  });
});

test.each([
  ['Conv', [5, 41, 3, 3]],
  ['ConvTranspose', [41, 5, 3, 3]],
] as const)('4-bit blocks of a %s come back in the layout of its filters', async (op, dims) => {
  await withFolder(async (folder) => {
    const filters = normals(5 * 41 * 9, 0.2);
    const proto = model(
      graph({
        nodes: [node(op, ['x', 'w'], ['y'])],
        initializers: [floats('w', [...dims], filters)],
        inputs: [value('x', 'f32', [1, 41, 6, 6])],
        outputs: [value('y', 'f32', [1, 5, 'h', 'w'])],
      }),
    );
    const original = await writeModel(folder, proto);
    const rules = [
      { match: {}, scheme: { as: 'qdq', type: 'int4', granularity: 'block', blockSize: 16 } as const },
    ];
    const small = await quantized(original, { name: 'own', rules });
    const { files } = await dequantizeModel(small, { threads: 1 });
    const back = files[0]?.path ?? '';
    expect(await anatomy(back)).toEqual({ operators: new Set([op]), types: new Set(['f32']) });
    const [same] = (await compareModels(small, back, { verify: false })).weights;
    expect(same).toMatchObject({ name: 'w', sqnr: Infinity });
    const [lost] = (await compareModels(original, back, { verify: false })).weights;
    expect(lost?.sqnr).toBeGreaterThan(18);
  });
});

test('weights of external data come back into external data', async () => {
  await withFolder(async (folder) => {
    const original = await writeModel(folder, everyOperator(), { external: true });
    const small = await quantized(original, 'int8-qdq');
    const { files } = await dequantizeModel(small, { threads: 1, output: join(folder, 'back.onnx') });
    expect(files.map(({ path }) => path.slice(folder.length + 1))).toEqual(['back.onnx', 'back.onnx_data']);
    expect(worstCosine(await tokenAnswers(small), await tokenAnswers(files[0]?.path ?? ''))).toBeGreaterThan(
      0.999,
    );
  });
});

test('a float model, a folder and an output that exists are refused, and nothing is written', async () => {
  await withFolder(async (folder) => {
    const original = await writeModel(folder, everyOperator());
    await expect(dequantizeModel(original)).rejects.toMatchObject({ code: 'E_NOTHING_TO_DO' });
    await expect(dequantizeModel(folder)).rejects.toMatchObject({ code: 'E_USAGE' });
    const small = await quantized(original, 'q4');
    await expect(dequantizeModel(small, { output: original })).rejects.toMatchObject({
      code: 'E_OUTPUT_EXISTS',
    });
    await expect(dequantizeModel(small, { output: small, force: true })).rejects.toMatchObject({
      code: 'E_OUTPUT_IS_INPUT',
    });
    // A file stands where a folder is wanted.
    await expect(dequantizeModel(small, { output: join(original, 'sub', 'b.onnx') })).rejects.toBeInstanceOf(
      WhittleError,
    );
    await expect(dequantizeModel(join(folder, 'absent.onnx'))).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    expect((await readdir(folder)).sort()).toEqual(['model.onnx', 'model_q4.onnx']);
  });
});
