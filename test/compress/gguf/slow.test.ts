/** Work that will take hours is said to, before it begins. */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { QuantizeGgufOptions } from '../../../src/compress/gguf/options.ts';
import { quantizeGguf } from '../../../src/compress/gguf/quantize.ts';
import { blockMethod } from '../../../src/compress/gguf/solve/names.ts';
import { slowNote } from '../../../src/compress/gguf/solve/slow.ts';
import type { GgmlType } from '../../../src/core/ggml-types.ts';
import type { PlannedGgufTensor } from '../../../src/planning/gguf/options.ts';
import { withFolder } from '../../formats/build-onnx.ts';
import { sharedPath } from '../../shared.ts';

function tensors(to: GgmlType, count: number): PlannedGgufTensor[] {
  return Array.from({ length: count }, (_, number) => ({
    name: `blk.${number}.ffn_up.weight`,
    source: `blk.${number}.ffn_up.weight`,
    shape: [2048, 2048],
    from: 'f16',
    to,
    fromBytes: 0,
    toBytes: 0,
    reason: 'asked for',
    task: number,
    importance: false,
    file: 0,
    offset: 0,
  }));
}

function note(algorithm: string, wanted: readonly PlannedGgufTensor[]): string | undefined {
  const method = blockMethod(algorithm);
  if (method === undefined) throw new Error('an algorithm');
  return slowNote(wanted, method);
}

test('best on a lattice of many weights: how many, in which types, and how long at least', () => {
  const mixed = [...tensors('iq3_s', 10), ...tensors('q4_K', 50)];
  expect(note('best', mixed)).toMatch(/slow on iq3_s: 42 million weights take 31 minutes or more/);
  expect(note('best', tensors('iq2_xxs', 250))).toMatch(/1049 million weights take 13 hours or more/);
});

test('nothing is said of other algorithms, other types and few weights', () => {
  expect(note('gptq-act-order', tensors('iq3_s', 10))).toBeUndefined();
  expect(note('best', tensors('q4_K', 10))).toBeUndefined();
  expect(note('best', tensors('iq1_m', 10))).toBeUndefined();
  const few = tensors('iq3_s', 1).map((tensor) => ({ ...tensor, shape: [512, 512] }));
  expect(note('best', few)).toBeUndefined();
});

const gguf = sharedPath('models/lm/lm-f16.gguf');
const onnx = sharedPath('models/lm/onnx/model.onnx');
const source = sharedPath('data/lm-calib.txt');

test.skipIf(gguf === undefined || onnx === undefined || source === undefined)(
  'a dry run has the note among the others, a run tells it before the first layer',
  async () => {
    await withFolder(async (folder) => {
      const controller = new AbortController();
      const told: string[] = [];
      const phases: string[] = [];
      const options: QuantizeGgufOptions = {
        to: 'IQ3_S',
        algorithm: 'best',
        onnx,
        data: { source: source ?? '', samples: 1, sequence: 16 },
        output: join(folder, 'out.gguf'),
        threads: 1,
        signal: controller.signal,
        onProgress: ({ phase }) => phases.push(phase),
        onNote: (text) => {
          told.push(text);
          controller.abort();
        },
      };
      const { results } = await quantizeGguf(gguf ?? '', { ...options, dryRun: true });
      expect(results[0]?.notes[0]).toMatch(/^best is slow on iq3_s: [67] million weights/);
      expect(told).toEqual([]);
      await expect(quantizeGguf(gguf ?? '', options)).rejects.toMatchObject({ code: 'E_ABORTED' });
      expect(told).toEqual([results[0]?.notes[0]]);
      expect(phases.filter((phase) => phase.startsWith('best'))).toEqual([]);
    });
  },
);
