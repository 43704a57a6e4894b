/** Ranges of activations as a test needs them: the model with extra outputs, run without optimization on inputs held in memory. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InferenceSession, type Tensor } from 'onnxruntime-node';
import { MinMaxObserver, type RangeObserver } from '../../src/calibration/observers/index.ts';
import { encodeModel } from '../../src/formats/onnx/layout.ts';
import { cloneModel, type OnnxModel } from '../../src/formats/onnx/model.ts';
import type { ValueRange } from '../../src/numerics/affine.ts';
import { withFolder } from '../formats/build-onnx.ts';

/** All samples of a tensor are shown to its observer at once, as quantize_static does by default. */
export async function tapRanges(
  model: OnnxModel,
  names: readonly string[],
  samples: readonly Readonly<Record<string, Tensor>>[],
  make: () => RangeObserver = () => new MinMaxObserver(),
): Promise<Map<string, ValueRange>> {
  const proto = cloneModel(model.proto);
  const inputs = new Set(proto.graph!.input.map(({ name }) => name));
  const outputs = new Set(proto.graph!.output.map(({ name }) => name));
  for (const name of names) {
    if (inputs.has(name) || outputs.has(name)) continue;
    proto.graph!.output.push({ name, metadataProps: [], unknown: [] });
  }
  const seen = new Map<string, number[]>(names.map((name) => [name, []]));
  await withFolder(async (folder) => {
    const file = join(folder, 'taps.onnx');
    await writeFile(file, await encodeModel(proto));
    const session = await InferenceSession.create(await readFile(file), {
      graphOptimizationLevel: 'disabled',
      logSeverityLevel: 3,
    });
    const fetched = names.filter((name) => !inputs.has(name));
    for (const feeds of samples) {
      const results = await session.run(feeds, fetched);
      for (const [name, values] of seen) {
        const data = (results[name] ?? feeds[name])?.data;
        if (data instanceof Float32Array) for (const value of data) values.push(value);
      }
    }
    await session.release();
  });
  return new Map(
    [...seen].map(([name, values]) => {
      const observer = make();
      observer.observe(Float32Array.from(values));
      return [name, observer.range()];
    }),
  );
}
