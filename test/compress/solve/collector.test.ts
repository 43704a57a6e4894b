/** Stages that begin where the one before ended see the same sums, bit for bit, as stages that begin with the first layer. */

import { expect, test } from 'vitest';
import { collectInputStatistics } from '../../../src/calibration/collect/collect-inputs.ts';
import type { Collected } from '../../../src/calibration/collect/products.ts';
import type { CalibrationModel } from '../../../src/calibration/collect/tapped-model.ts';
import type { Dataset } from '../../../src/calibration/data/dataset.ts';
import { openModelData } from '../../../src/compress/calibration-data.ts';
import { createCollector } from '../../../src/compress/solve/collector.ts';
import { findLayers, type Layer } from '../../../src/compress/solve/layers.ts';
import { substituteWeights } from '../../../src/compress/solve/substitute.ts';
import { floatReader } from '../../../src/compress/stored-values.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { referenceKernels } from '../../../src/kernels/index.ts';
import { onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import { dataset, f32, modelOf, randomValues } from '../../calibration/collect/runs.ts';
import { floats, graph, model, node, value } from '../../formats/build-onnx.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';

const runtime = onnxruntimeNode();

function sameBytes(
  a: Float32Array | Float64Array | undefined,
  b: Float32Array | Float64Array | undefined,
): boolean {
  if (a === undefined || b === undefined) return a === b;
  return Buffer.compare(new Uint8Array(a.buffer), new Uint8Array(b.buffer)) === 0;
}

async function compareStages(
  float: CalibrationModel,
  data: Dataset,
  layers: readonly Layer[],
  collect: readonly Collected[],
  read: (layer: Layer) => Promise<Float32Array>,
  heldBytes: number,
): Promise<number> {
  const kernels = referenceKernels();
  await using collector = createCollector(float, data, layers, { runtime, kernels, threads: 1, heldBytes });
  const replaced = new Map<string, Float32Array>();
  const stages = [...new Set(layers.map(({ stage }) => stage))].sort((a, b) => a - b);
  for (const stage of stages) {
    const now = layers.filter((layer) => layer.stage === stage);
    const products = now.flatMap((layer) => layer.products);
    const found = await collector.collect(products, replaced, collect);
    const proto = substituteWeights(float.proto, replaced, kernels);
    const expected = await collectInputStatistics({ ...float, proto }, data, products, {
      runtime,
      collect,
      reference: float,
      threads: 1,
    });
    for (const [weight, statistics] of expected) {
      for (const part of ['squares', 'gram', 'cross', 'drift'] as const)
        expect({ weight, part, same: sameBytes(found.get(weight)?.[part], statistics[part]) }).toEqual({
          weight,
          part,
          same: true,
        });
    }
    for (const layer of now)
      replaced.set(
        layer.key,
        (await read(layer)).map((w) => Math.round(w * 64) / 64),
      );
  }
  return stages.length;
}

const SIZE = 6;

/** Two blocks with residual sums, a mask that depends on the input alone, and a layer beside the chain. */
function residualModel() {
  const weights = ['w1', 'w2', 'w3', 'w4', 'w5'];
  return model(
    graph({
      nodes: [
        node('Abs', ['x'], ['mask']),
        node('MatMul', ['x', 'w1'], ['a1']),
        node('Relu', ['a1'], ['r1']),
        node('MatMul', ['r1', 'w2'], ['a2']),
        node('Add', ['x', 'a2'], ['h1']),
        node('Mul', ['h1', 'mask'], ['m1']),
        node('MatMul', ['m1', 'w3'], ['a3']),
        node('Tanh', ['a3'], ['r3']),
        node('MatMul', ['r3', 'w4'], ['a4']),
        node('Add', ['h1', 'a4'], ['h2']),
        node('MatMul', ['r1', 'w5'], ['a5']),
        node('Add', ['h2', 'a5'], ['y']),
      ],
      initializers: weights.map((name, i) =>
        floats(name, [SIZE, SIZE], [...randomValues(SIZE * SIZE, i + 1)]),
      ),
      inputs: [value('x', 'f32', ['b', 't', SIZE])],
      outputs: [value('y', 'f32', ['b', 't', SIZE])],
    }),
  );
}

test.each([
  [['gram'], 1 << 20],
  [['gram', 'cross'], 1 << 20],
  [['gram', 'drift'], 0],
] as const)('%j, with %i bytes in memory', async (collect, heldBytes) => {
  const float = modelOf(residualModel());
  const data = dataset([1, 2, 3].map((b) => ({ x: f32([b, 4, SIZE], randomValues(b * 4 * SIZE, 10 + b)) })));
  const read = async ({ name }: Layer) => randomValues(SIZE * SIZE, Number(name.slice(1)));
  expect(await compareStages(float, data, findLayers(float.proto), collect, read, heldBytes)).toBe(4);
});

const lm = sharedPath('models/lm/onnx/model.onnx');
const text = sharedPath('data/lm-calib.txt');

test.skipIf(lm === undefined || text === undefined)(
  `the first stages of a decoder (else: ${SHARED_ABSENT})`,
  { timeout: 240_000 },
  async () => {
    const source = await openOnnx(lm!);
    try {
      const float: CalibrationModel = {
        proto: source.proto,
        resolve: (tensor) => source.tensorBytes(tensor),
      };
      const data = await openModelData(
        source,
        {
          source: { kind: 'text', file: text!, tokenizer: sharedPath('models/lm')! },
          samples: 2,
          sequence: 32,
        },
        { threads: 1 },
      );
      const kernels = referenceKernels();
      const layers = findLayers(source.proto).slice(0, 6);
      const read = async ({ weight }: Layer): Promise<Float32Array> => {
        const values = new Float32Array(weight.shape.reduce((product, size) => product * size, 1));
        await (await floatReader(source, weight.tensor, 'f32', kernels))(0, values);
        return values;
      };
      await compareStages(float, data, layers, ['gram'], read, 1 << 28);
    } finally {
      await source.close();
    }
  },
);
