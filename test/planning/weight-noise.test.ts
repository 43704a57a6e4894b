/** The estimate behind `int8SqnrBelow` agrees with the error that quantizing really makes, and the rule follows it. */

import { expect, test } from 'vitest';
import { createRandom } from '../../src/core/random.ts';
import type { Weight } from '../../src/formats/onnx/model.ts';
import { int8Sqnr } from '../../src/planning/weight-noise.ts';

function weight(count: number): Weight {
  const graph = {
    node: [],
    initializer: [],
    input: [],
    output: [],
    valueInfo: [],
    metadataProps: [],
    unknown: [],
  };
  const tensor = {
    dims: [count],
    stringData: [],
    externalData: [],
    metadataProps: [],
    unknown: [],
  };
  return {
    key: 'w',
    name: 'w',
    dtype: 'f32',
    shape: [count],
    tensor,
    graph,
    origin: { kind: 'initializer' },
    uses: [],
    isGraphInput: false,
    isGraphOutput: false,
  };
}

function measured(values: Float32Array): number {
  const step = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127;
  let power = 0;
  let noise = 0;
  for (const value of values) {
    power += value * value;
    noise += (Math.round(value / step) * step - value) ** 2;
  }
  return 10 * Math.log10(power / noise);
}

test.each([0, 5, 20, 100])(
  'with an outlier of %i deviations it is within 1 dB of the real error',
  async (outlier) => {
    const random = createRandom(9);
    const values = Float32Array.from({ length: 300_000 }, () => random.normal());
    if (outlier > 0) values[7] = outlier;
    const bytes = { kind: 'inline', bytes: new Uint8Array(values.buffer) } as const;
    expect(Math.abs((await int8Sqnr(weight(values.length), bytes)) - measured(values))).toBeLessThan(1);
  },
);

test('zeros are exact and NaN is no number', async () => {
  const bytes = (values: Float32Array<ArrayBuffer>) =>
    ({ kind: 'inline', bytes: new Uint8Array(values.buffer) }) as const;
  expect(await int8Sqnr(weight(4), bytes(new Float32Array(4)))).toBe(Number.POSITIVE_INFINITY);
  expect(await int8Sqnr(weight(2), bytes(Float32Array.of(1, Number.NaN)))).toBeNaN();
});
