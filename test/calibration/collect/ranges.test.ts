/** Ranges of tensors, collected from onnxruntime with the graph as written, against observers that saw everything at once. */

import { expect, test } from 'vitest';
import { collectRanges } from '../../../src/calibration/collect/ranges.ts';
import {
  EntropyObserver,
  MinMaxObserver,
  MovingAverageObserver,
  MseObserver,
  PercentileObserver,
  type RangeObserver,
} from '../../../src/calibration/index.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { onnxruntimeScale } from '../../../src/numerics/index.ts';
import { onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import { floats, graph, model, node, value } from '../../formats/build-onnx.ts';
import { GOLDEN_ABSENT, openGolden } from '../../numerics/golden.ts';
import { sharedPath } from '../../shared.ts';
import { dataset, f32, modelOf, randomValues } from './runs.ts';

const runtime = onnxruntimeNode();

/** y = relu(x) + b: taps of an input, an inner value and an output. */
function reluModel(opset: number) {
  return model(
    graph({
      nodes: [node('Relu', ['x'], ['r']), node('Add', ['r', 'b'], ['y'])],
      initializers: [floats('b', [3], [0.5, -4, 0.25])],
      inputs: [value('x', 'f32', ['n', 3])],
      outputs: [value('y', 'f32', ['n', 3])],
    }),
    { opset },
  );
}

const batches = Array.from({ length: 4 }, (_, i) =>
  randomValues(3 * (50 + i), 10 + i).map((v) => v * (1 + i)),
);
const data = dataset(batches.map((batch) => ({ x: f32([batch.length / 3, 3], batch) })));
const TENSORS = ['x', 'r', 'y'];

function valuesOf(name: string): Float32Array[] {
  const bias = [0.5, -4, 0.25];
  return batches.map((batch) =>
    batch.map((x, i) => {
      if (name === 'x') return x;
      const relu = Math.max(0, x);
      return name === 'r' ? relu : relu + bias[i % 3]!;
    }),
  );
}

function shown(observer: RangeObserver, shows: readonly Float32Array[]) {
  for (const values of shows) observer.observe(values);
  return observer.range();
}

function atOnce(values: readonly Float32Array[]): Float32Array[] {
  return [Float32Array.from(values.flatMap((batch) => [...batch]))];
}

test.each([8, 12, 13, 18])(
  'extremes and moving averages equal those of the observers, opset %i',
  async (opset) => {
    const proto = modelOf(reluModel(opset));
    const extremes = await collectRanges(proto, data, TENSORS, { runtime, observer: 'min-max' });
    const averages = await collectRanges(proto, data, TENSORS, { runtime, observer: 'moving-average' });
    for (const name of TENSORS) {
      expect(extremes.get(name), name).toMatchObject(shown(new MinMaxObserver(), valuesOf(name)));
      expect(averages.get(name), name).toEqual(shown(new MovingAverageObserver(), valuesOf(name)));
    }
  },
);

test.each([
  ['percentile', () => new PercentileObserver({ percentile: 90 })],
  ['percentile of both ends', () => new PercentileObserver({ percentile: 90, symmetric: false })],
  ['entropy', () => new EntropyObserver({ bins: 512 })],
])(
  '%s of samples one by one is that of all samples at once, as onnxruntime gathers them',
  async (_, observer) => {
    const found = await collectRanges(modelOf(reluModel(17)), data, TENSORS, { runtime, observer });
    for (const name of TENSORS)
      expect(found.get(name), name).toEqual(shown(observer(), atOnce(valuesOf(name))));
  },
);

test('an observer that streams is shown every sample', async () => {
  const observer = () => new MseObserver();
  const found = await collectRanges(modelOf(reluModel(17)), data, ['y'], { runtime, observer });
  expect(found.get('y')).toEqual(shown(observer(), valuesOf('y')));
});

test('NaN is an error that names where it begins; a tensor that is not there is an error too', async () => {
  const bad = Float32Array.of(1, Number.NaN, 2);
  const nan = dataset([{ x: f32([1, 3], bad) }]);
  for (const observer of ['min-max', () => new PercentileObserver()] as const) {
    await expect(
      collectRanges(modelOf(reluModel(17)), nan, ['y'], { runtime, observer }),
    ).rejects.toMatchObject({ code: 'E_NONFINITE', details: { tensor: 'x' } });
  }
  await expect(
    collectRanges(modelOf(reluModel(17)), data, ['elsewhere'], { runtime, observer: 'min-max' }),
  ).rejects.toMatchObject({ code: 'E_GRAPH', details: { tensor: 'elsewhere' } });
});

interface StaticCase {
  readonly case: string;
  readonly inputs: readonly string[];
  readonly input_name: string;
  readonly parameters: Readonly<Record<string, string>>;
}
const golden = openGolden<StaticCase>('calibration');
const modelPath = sharedPath('golden/calibration-model.onnx');

test.skipIf(golden === undefined || modelPath === undefined)(
  `streamed ranges give the scale and zero point of quantize_static for every activation that it takes as it is (else: ${GOLDEN_ABSENT})`,
  async () => {
    const { cases, tensors } = golden!;
    await using opened = await openOnnx(modelPath!);
    const found = cases.find((c) => c.case === 'static/minmax_s8s8')!;
    const samples = found.inputs.map((name) => ({
      [found.input_name]: f32(tensors.get(name).shape, tensors.f32(name)),
    }));
    const { node: nodes } = opened.proto.graph!;
    // Others take the range of what follows them: see static-activations.test.ts.
    const clipped = new Set(
      nodes.flatMap((n) => (n.opType === 'Clip' || n.opType === 'Relu' ? [n.input[0] ?? ''] : [])),
    );
    const names = nodes
      .flatMap((n) => (n.opType === 'Softmax' || n.opType === 'Constant' ? [] : n.output))
      .filter((name) => found.parameters[`${name}_scale`] !== undefined && !clipped.has(name));
    expect(names.length).toBeGreaterThan(60);
    const source = { proto: opened.proto, resolve: opened.tensorBytes };
    for (const [name, type, observer] of [
      ['minmax_s8s8', 'int8', 'min-max'],
      ['percentile_u8s8_per_channel', 'uint8', () => new PercentileObserver()],
    ] as const) {
      const { parameters } = cases.find((c) => c.case === `static/${name}`)!;
      const ranges = await collectRanges(source, dataset(samples), names, { runtime, observer });
      const wrong = names.filter((tensor) => {
        const { scale } = onnxruntimeScale(ranges.get(tensor)!, { type, symmetric: false });
        return scale !== tensors.f32(parameters[`${tensor}_scale`]!)[0];
      });
      expect({ name, wrong }).toEqual({ name, wrong: [] });
    }
  },
);
