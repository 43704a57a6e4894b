/** In the page: a dropped ONNX file opens, its weights are measured and quantized, and a mode is planned to the byte. */

import { expect, test } from 'vitest';
import { blobSource, openOnnx } from '../../src/browser.ts';
import { createRandom } from '../../src/core/random.ts';
import { encodeModel } from '../../src/formats/onnx/model.ts';
import { referenceKernels, wasmKernels } from '../../src/kernels/index.ts';
import { measureTensor, quantizeTensor } from '../../src/numerics/index.ts';
import { planCompression } from '../../src/planning/plan-onnx.ts';
import { presetRecipe } from '../../src/planning/presets.ts';
import { matMulModel } from './page-models.ts';

const ROWS = 64;
const COLUMNS = 48;

function normals(count: number): Float32Array {
  const random = createRandom(7);
  return Float32Array.from({ length: count }, () => random.normal());
}

test('a dropped ONNX file opens lazily and gives its weights', async () => {
  const weights = normals(ROWS * COLUMNS);
  const file = new Blob([new Uint8Array(await encodeModel(matMulModel(weights, ROWS, COLUMNS)))]);
  const model = await openOnnx(blobSource(file, 'dropped.onnx'));
  const [weight] = model.weights();
  expect(weight).toMatchObject({ name: 'w', dtype: 'f32', shape: [ROWS, COLUMNS] });
  const bytes = await model.readTensor(weight!.tensor);
  expect(new Float32Array(bytes.slice().buffer)).toEqual(weights);
  await model.close();
});

test('q4 is planned to the byte in the page', async () => {
  const file = new Blob([
    new Uint8Array(await encodeModel(matMulModel(normals(ROWS * COLUMNS), ROWS, COLUMNS))),
  ]);
  const model = await openOnnx(blobSource(file, 'dropped.onnx'));
  const { plan, files } = await planCompression(model, presetRecipe('q4'), { fileName: 'dropped_q4.onnx' });
  const parts = plan.tensors.find(({ name }) => name === 'w')?.parts.map(({ length }) => length);
  expect(parts).toEqual([(ROWS * COLUMNS) / 2, (ROWS / 32) * COLUMNS * 4]);
  expect(files[0]?.size).toBe(plan.outputs[0]?.bytes);
  await model.close();
});

test('WebAssembly and the plain-TypeScript definition give the same bytes in the page', async () => {
  const wasm = await wasmKernels();
  expect(wasm?.backend, 'this browser runs WebAssembly SIMD').toBe('wasm');
  const values = normals(100 * 100);
  for (const encoding of ['uint8', 'int4', 'f8_e4m3fn', 'nf4', 'mxfp4'] as const) {
    const fast = quantizeTensor(values, [100, 100], encoding, { kernels: wasm });
    const slow = quantizeTensor(values, [100, 100], encoding, { kernels: referenceKernels() });
    expect(fast.data, encoding).toEqual(slow.data);
    expect(fast.dequantize(), encoding).toEqual(slow.dequantize());
  }
  const fast = measureTensor(values, [100, 100], { kernels: wasm });
  expect(fast).toEqual(measureTensor(values, [100, 100], { kernels: referenceKernels() }));
});
