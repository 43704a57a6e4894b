/**
 * Activation ranges of a whole network: every tensor tapped in onnxruntime-node without graph optimization, min-max or
 * percentile over all batches, scale and zero point by onnxruntime's rule; compared with what quantize_static wrote for the same inputs.
 */

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ModelProtoSchema, ValueInfoProtoSchema } from 'onnx-buf';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { MinMaxObserver, PercentileObserver, type RangeObserver } from '../../src/calibration/index.ts';
import { onnxruntimeScale } from '../../src/numerics/index.ts';
import { GOLDEN_ABSENT, openGolden } from '../numerics/golden.ts';
import { sharedPath } from '../shared.ts';

interface StaticCase {
  readonly case: string;
  readonly inputs: readonly string[];
  readonly input_name: string;
  readonly parameters: Readonly<Record<string, string>>;
}
const golden = openGolden<StaticCase>('calibration');
const modelPath = sharedPath('golden/calibration-model.onnx');
const CASES = ['minmax_u8s8_per_channel', 'minmax_s8s8', 'minmax_u8u8', 'percentile_u8s8_per_channel'];

test.skipIf(golden === undefined || modelPath === undefined)(
  `the scale and zero point of every activation equal quantize_static's in four settings (else: ${GOLDEN_ABSENT})`,
  async () => {
    const { cases, tensors } = golden!;
    const model = fromBinary(ModelProtoSchema, await readFile(modelPath!));
    const graph = model.graph!;
    const nodes = graph.node.filter((node) => node.opType !== 'Constant');
    const first = cases.find((c) => c.case === `static/${CASES[0]}`)!;
    const names = nodes
      .flatMap((node) => node.output)
      .filter((name) => first.parameters[`${name}_scale`] !== undefined);
    const declared = new Set(graph.output.map(({ name }) => name));
    for (const name of names)
      if (!declared.has(name)) graph.output.push(create(ValueInfoProtoSchema, { name }));
    const values = await tap(toBinary(ModelProtoSchema, model), first, names);
    const minMax = rangesOf(values, () => new MinMaxObserver());
    const percentile = rangesOf(values, () => new PercentileObserver());
    // After calibration: what a Clip or Relu reads takes the range of what it gives, and Softmax gives [0, 1].
    for (const ranges of [minMax, percentile]) {
      for (const node of [...nodes].reverse()) {
        const [input = ''] = node.input;
        const [output = ''] = node.output;
        if (node.opType === 'Softmax') ranges.set(output, { min: 0, max: 1 });
        const range = ranges.get(output);
        const readers = nodes.filter((other) => other.input.includes(input)).length;
        if ((node.opType === 'Clip' || node.opType === 'Relu') && range !== undefined && readers === 1)
          ranges.set(input, range);
      }
    }
    for (const name of CASES) {
      const { parameters } = cases.find((c) => c.case === `static/${name}`)!;
      const type = name.includes('_u8') ? 'uint8' : 'int8';
      const ranges = name.startsWith('percentile') ? percentile : minMax;
      const wrong: unknown[] = [];
      for (const tensor of names) {
        const zeros = tensors.u8(parameters[`${tensor}_zero_point`]!);
        const expected = {
          scale: tensors.f32(parameters[`${tensor}_scale`]!)[0],
          zeroPoint: type === 'int8' ? new Int8Array(zeros.buffer, zeros.byteOffset)[0] : zeros[0],
        };
        const ours = onnxruntimeScale(ranges.get(tensor)!, { type, symmetric: false });
        if (ours.scale !== expected.scale || ours.zeroPoint !== expected.zeroPoint)
          wrong.push({ tensor, ours, expected });
      }
      expect({ name, wrong }).toEqual({ name, wrong: [] });
    }
    expect(names.length).toBeGreaterThan(100);

    /** All batches of each tensor in one array, as quantize_static hands them to its calibrator. */
    async function tap(bytes: Uint8Array, found: StaticCase, taps: readonly string[]) {
      const folder = await mkdtemp(join(tmpdir(), 'whittle-taps-'));
      const batches = new Map<string, number[]>(taps.map((name) => [name, []]));
      try {
        const file = join(folder, 'taps.onnx');
        await writeFile(file, bytes);
        const session = await InferenceSession.create(file, {
          graphOptimizationLevel: 'disabled',
          logSeverityLevel: 3,
        });
        for (const input of found.inputs) {
          const shape = tensors.get(input).shape;
          const feeds = { [found.input_name]: new Tensor('float32', tensors.f32(input), [...shape]) };
          const results = await session.run(feeds, [...taps]);
          for (const [name, seen] of batches) {
            const { data } = results[name]!;
            if (data instanceof Float32Array) for (const value of data) seen.push(value);
          }
        }
        await session.release();
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
      return batches;
    }
  },
);

function rangesOf(values: ReadonlyMap<string, readonly number[]>, make: () => RangeObserver) {
  return new Map(
    [...values].map(([name, seen]) => {
      const observer = make();
      observer.observe(Float32Array.from(seen));
      return [name, observer.range()];
    }),
  );
}
