/** Byte identity with onnxruntime's quantizers, over every backend. */

import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { referenceKernels, wasmKernels } from '../../src/kernels/index.ts';
import { SHARED_ABSENT, sharedPath } from '../shared.ts';
import { expectedBytes, firstDifference, readGolden, runCase } from './golden.ts';

const wasm = await wasmKernels();
const backends = [referenceKernels(), ...(wasm === undefined ? [] : [wasm])];
const fixtures = fileURLToPath(new URL('../fixtures/onnxruntime', import.meta.url));

function differences(folder: string, family: string, kernels: (typeof backends)[number]): string[] {
  const golden = readGolden(folder);
  const failures: string[] = [];
  for (const item of golden.cases) {
    if (!item.case.startsWith(`${family}/`)) continue;
    const actual = runCase(kernels, golden, item);
    for (const [role, name] of Object.entries(item.outputs)) {
      const bytes = actual[role];
      const difference =
        bytes === undefined ? 'was not computed' : firstDifference(bytes, expectedBytes(golden, name));
      if (difference !== undefined) failures.push(`${item.case} ${role}: ${difference}`);
    }
  }
  return failures;
}

const shared = sharedPath('golden');

describe.each(backends.map((kernels) => [kernels.backend, kernels] as const))('%s kernels', (_, kernels) => {
  test.each(['matmulnbits', 'matmulbnb4', 'gather4', 'affine'])(
    '%s is byte-identical to onnxruntime on the fixtures',
    (family) => {
      expect(differences(fixtures, family, kernels)).toEqual([]);
    },
  );

  test.skipIf(shared === undefined).each(['matmulnbits', 'matmulbnb4', 'gather4', 'affine'])(
    `%s is byte-identical to onnxruntime on every golden case (skips when ${SHARED_ABSENT})`,
    (family) => {
      expect(differences(shared ?? '', family, kernels)).toEqual([]);
    },
  );
});
