/** A dry run refuses what the run itself would refuse of algorithms and data, without running anything. */

import { expect, test } from 'vitest';
import type { CompressOptions } from '../../../src/compress/options.ts';
import { compress } from '../../../src/compress.ts';
import { withFolder, writeModel } from '../../formats/build-onnx.ts';
import { network, tokens } from './small-network.ts';

const cases: readonly [string, Partial<CompressOptions>][] = [
  ['an algorithm that needs data, without data', { algorithm: 'gptq' }],
  ['scales that need data, without data', { algorithm: 'awq' }],
  ['bias correction without data', { biasCorrection: true }],
  ['a solution to save where nothing is solved', { saveSolution: 'w.safetensors' }],
];

test.each(cases)('%s: the words of the run', async (_, options) => {
  await withFolder(async (folder) => {
    const file = await writeModel(folder, network());
    const refusal = async (dryRun: boolean): Promise<unknown> =>
      compress(file, { to: ['q4'], dryRun, verify: false, ...options }).catch((error: unknown) => error);
    const real = await refusal(false);
    expect(real).toMatchObject({ code: 'E_USAGE' });
    expect(await refusal(true)).toEqual(real);
  });
});

test('what the run would do is planned, and no sample is read', async () => {
  await withFolder(async (folder) => {
    const file = await writeModel(folder, network());
    const data = {
      ...tokens,
      samples: () => {
        throw new Error('read');
      },
    };
    const wishes: readonly Partial<CompressOptions>[] = [
      { algorithm: 'gptq', data },
      { algorithm: 'fit' },
      { data },
    ];
    for (const options of wishes) {
      const { results } = await compress(file, { to: ['q4'], dryRun: true, ...options });
      expect(results).toHaveLength(1);
    }
  });
});
