/** From words to bytes: what the command line writes beside what llama.cpp's own library writes from the same model. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { withFolder } from '../formats/build-onnx.ts';
import { llamaOracle } from '../oracle/llama.ts';
import { SHARED_ABSENT, sharedPath } from '../shared.ts';
import { run } from './run.ts';

const MODEL = sharedPath('models/lm-tiny/lm-tiny-f16.gguf');
const oracle = llamaOracle();
afterAll(() => oracle?.close());

const LACKING =
  MODEL === undefined ? SHARED_ABSENT : oracle === undefined ? "llama.cpp's library is not here" : undefined;

test.skipIf(LACKING !== undefined).each([
  ['Q4_K_M', 15],
  ['q8_0', 7],
  ['IQ4_XS', 30],
] as const)(
  `whittle quantize --to %s writes llama_model_quantize's file${LACKING === undefined ? '' : ` (${LACKING})`}`,
  async (type, fileType) => {
    await withFolder(async (folder) => {
      const [ours, theirs] = [join(folder, 'ours.gguf'), join(folder, 'theirs.gguf')];
      const answer = await oracle?.quantize({ input: MODEL ?? '', output: theirs, fileType });
      expect(answer?.outcome).toBe('done');
      const { code, stderr } = await run(['quantize', MODEL ?? '', '--to', type, '-o', ours, '--quiet']);
      expect(stderr).toBe('');
      expect(code).toBe(0);
      expect(Buffer.compare(await readFile(ours), await readFile(theirs))).toBe(0);
    });
  },
);
