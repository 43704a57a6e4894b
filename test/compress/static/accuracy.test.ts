/** Static int8 of a real classifier on every row of its evaluation set: no more than half a point below the float model. */

import { expect, test } from 'vitest';
import { evaluateModel } from '../../../src/compress/evaluate.ts';
import { compress } from '../../../src/compress.ts';
import { hasOnnxruntimeNode } from '../../../src/runtime/onnxruntime-node.ts';
import { withFolder } from '../../formats/build-onnx.ts';
import { SHARED_ABSENT, sharedPath } from '../../shared.ts';

const original = sharedPath('models/era-classifier/onnx/model.onnx');
const calibration = sharedPath('data/era-calib.json');
const rows = sharedPath('data/era-eval.json');
const ready = (original && calibration && rows) !== undefined && (await hasOnnxruntimeNode());

/** Of the float model on these rows; running it here again would take four times as long as the rest. */
const FLOAT_ACCURACY = 0.712;

test.skipIf(!ready)(
  `accuracy on all 5,046 rows is within 0.5 points of the float model's 71.2 % (skipped where ${SHARED_ABSENT})`,
  { timeout: 900_000 },
  async () => {
    await withFolder(async (folder) => {
      const { results } = await compress(original ?? '', {
        to: ['static-int8'],
        output: folder,
        data: { source: calibration ?? '' },
        verify: false,
        threads: 1,
      });
      const { quality } = await evaluateModel(results[0]?.files[0]?.path ?? '', {
        data: { source: rows ?? '', samples: 'all' },
        cost: false,
        threads: 1,
      });
      expect(quality.samples).toBe(5046);
      expect(quality.scores?.result?.accuracy).toBeGreaterThanOrEqual(FLOAT_ACCURACY - 0.005);
    });
  },
);
