import { readFileSync } from 'node:fs';
import { fromBinary } from '@bufbuild/protobuf';
import { ModelProtoSchema, TensorProto_DataType } from 'onnx-buf';
import { expect, test } from 'vitest';
import { MinMaxObserver, PercentileObserver } from '../../src/calibration/index.ts';
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

/** Activation and weight types are in the case's name: u8s8 = uint8 activations, int8 weights. */
const CASES = ['minmax_u8s8_per_channel', 'minmax_s8s8', 'minmax_u8u8'];

test.skipIf(golden === undefined || modelPath === undefined)(
  `the scale and zero point of the input and of every weight that it takes for an activation equal quantize_static's (else: ${GOLDEN_ABSENT})`,
  () => {
    const { graph } = fromBinary(ModelProtoSchema, readFileSync(modelPath!));
    const { cases, tensors } = golden!;
    let compared = 0;
    for (const name of CASES) {
      const found = cases.find((c) => c.case === `static/${name}`)!;
      const check = (
        tensor: string,
        values: readonly Float32Array[],
        type: 'int8' | 'uint8',
        symmetric: boolean,
      ) => {
        const scaleName = found.parameters[`${tensor}_scale`];
        const zeroName = found.parameters[`${tensor}_zero_point`];
        if (scaleName === undefined || zeroName === undefined) return;
        const scales = tensors.f32(scaleName);
        if (scales.length !== 1) return;
        const observer = new MinMaxObserver();
        for (const batch of values) observer.observe(batch);
        const zeros = tensors.u8(zeroName);
        const zero = type === 'int8' ? new Int8Array(zeros.buffer)[0] : zeros[0];
        const ours = onnxruntimeScale(observer.range(), { type, symmetric });
        expect([name, tensor, ours]).toEqual([name, tensor, { scale: scales[0], zeroPoint: zero }]);
        compared++;
      };
      const activation = name.includes('_u8') ? 'uint8' : 'int8';
      const inputs = found.inputs.map((input) => tensors.f32(input));
      check(found.input_name, inputs, activation, false);
      const constants = (graph?.node ?? []).flatMap((node) =>
        node.opType !== 'Constant' || node.attribute[0]?.t === undefined
          ? []
          : [{ ...node.attribute[0].t, name: node.output[0] ?? '' }],
      );
      for (const initializer of [...(graph?.initializer ?? []), ...constants]) {
        // Weights in Constant nodes are not initializers to quantize_static: it treats them as activations.
        if (initializer.dataType !== TensorProto_DataType.FLOAT || initializer.dims.length < 2) continue;
        const bytes = Uint8Array.from(initializer.rawData);
        check(initializer.name, [new Float32Array(bytes.buffer)], activation, false);
      }
    }
    expect(compared).toBeGreaterThan(40);
  },
);

test.skipIf(golden === undefined)(
  `the percentile setting's scale and zero point of the input, all batches in one, equal quantize_static's (else: ${GOLDEN_ABSENT})`,
  () => {
    const { cases, tensors } = golden!;
    const found = cases.find((c) => c.case === 'static/percentile_u8s8_per_channel')!;
    const observer = new PercentileObserver();
    observer.observe(Float32Array.from(found.inputs.flatMap((input) => [...tensors.f32(input)])));
    expect(onnxruntimeScale(observer.range(), { type: 'uint8', symmetric: false })).toEqual({
      scale: tensors.f32(found.parameters[`${found.input_name}_scale`]!)[0],
      zeroPoint: tensors.u8(found.parameters[`${found.input_name}_zero_point`]!)[0],
    });
  },
);
