/**
 * The whole model as quantize_static writes it: every scale and zero point of PaddleOCR's direction classifier in four settings.
 * onnxruntime met the weights of that model in Constant nodes, which it takes for activations: `constants: 'activations'`.
 */

import { join } from 'node:path';
import { Tensor } from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { MinMaxObserver, PercentileObserver } from '../../src/calibration/observers/index.ts';
import { executeFiles } from '../../src/execution/execute.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
import { ONNXRUNTIME_OPERATORS } from '../../src/formats/onnx/rewrite/static/settings.ts';
import type { Recipe } from '../../src/planning/recipe.ts';
import { planStatic, staticTensors } from '../../src/planning/static.ts';
import { withFolder } from '../formats/build-onnx.ts';
import { GOLDEN_ABSENT, openGolden } from '../numerics/golden.ts';
import { sharedPath } from '../shared.ts';
import { tapRanges } from './static-taps.ts';

interface StaticCase {
  readonly case: string;
  readonly inputs: readonly string[];
  readonly input_name: string;
  readonly op_counts: Readonly<Record<string, number>>;
  readonly parameters: Readonly<Record<string, string>>;
}
const golden = openGolden<StaticCase>('calibration');
const modelPath = sharedPath('golden/calibration-model.onnx');

const CASES = [
  { name: 'minmax_u8s8_per_channel', activations: 'uint8', weights: 'int8', perChannel: true },
  { name: 'minmax_s8s8', activations: 'int8', weights: 'int8', perChannel: false },
  { name: 'minmax_u8u8', activations: 'uint8', weights: 'uint8', perChannel: false },
  { name: 'percentile_u8s8_per_channel', activations: 'uint8', weights: 'int8', perChannel: true },
] as const;

test.skipIf(golden === undefined || modelPath === undefined).each(CASES)(
  `the written model holds every scale and zero point of quantize_static: $name (else: ${GOLDEN_ABSENT})`,
  async ({ name, activations, weights, perChannel }) => {
    const { cases, tensors } = golden!;
    const found = cases.find((c) => c.case === `static/${name}`)!;
    const percentile = name.startsWith('percentile');
    const recipe: Recipe = {
      name: 'parity',
      rules: [],
      static: {
        activations,
        symmetricActivations: false,
        weights,
        perChannel,
        reduceRange: false,
        operators: ONNXRUNTIME_OPERATORS,
        constants: 'activations',
        observer: percentile ? 'percentile' : 'minmax',
        fold: false,
      },
    };
    const samples = found.inputs.map((input) => ({
      [found.input_name]: new Tensor('float32', tensors.f32(input), [...tensors.get(input).shape]),
    }));
    await using model = await openOnnx(modelPath!);
    const ranges = await tapRanges(model, await staticTensors(model, recipe), samples, () =>
      percentile ? new PercentileObserver() : new MinMaxObserver(),
    );
    const { plan, files, tasks } = await planStatic(model, ranges, recipe, { fileName: 'out.onnx' });
    expect(plan.activations?.length).toBeGreaterThan(100);
    await withFolder(async (directory) => {
      await executeFiles({ files, tasks, target: { directory }, threads: 1 });
      await using written = await openOnnx(join(directory, 'out.onnx'));
      const ours: Record<string, number[]> = {};
      const expected: Record<string, number[]> = {};
      for (const tensor of written.proto.graph!.initializer) {
        const key = tensor.name ?? '';
        if (!key.endsWith('_scale') && !key.endsWith('_zero_point')) continue;
        const bytes = await written.readTensor(tensor);
        ours[key] = key.endsWith('_scale')
          ? [...new Float32Array(bytes.slice().buffer)]
          : [...(activations === 'int8' ? new Int8Array(bytes) : bytes)];
      }
      for (const [key, tensor] of Object.entries(found.parameters)) {
        if (key.endsWith('_scale')) expected[key] = [...tensors.f32(tensor)];
        else {
          expected[key] = [...new Int32Array(tensors.u8(tensor).buffer)];
        }
      }
      expect(ours).toEqual(expected);
      const counts: Record<string, number> = {};
      for (const { opType = '' } of written.proto.graph!.node) counts[opType] = (counts[opType] ?? 0) + 1;
      const { Constant: _, ...theirs } = found.op_counts;
      expect(counts).toEqual(theirs);
    });
  },
);
