/** The algorithms that a weight can be solved with, by the names that users write. */

import type { GridOptions, QuantizedMatrix, WeightMatrix } from '../../algorithms/matrix.ts';
import type { Method } from './solve.ts';

/** Minimum and maximum of each group (with 0) are the ends of its grid; every value takes the nearest code. */
export function roundToNearest(
  { values, outputs, inputs }: WeightMatrix,
  { bits, groupSize, symmetric }: GridOptions,
): QuantizedMatrix {
  const groups = Math.ceil(inputs / groupSize);
  const codes = new Uint8Array(values.length);
  const scales = new Float32Array(outputs * groups);
  const zeroPoints = new Float32Array(outputs * groups);
  const top = 2 ** bits - 1;
  for (let row = 0; row < outputs; row++) {
    for (let group = 0; group < groups; group++) {
      const start = row * inputs + group * groupSize;
      const end = Math.min(start + groupSize, (row + 1) * inputs);
      let low = 0;
      let high = 0;
      for (let i = start; i < end; i++) {
        low = Math.min(low, values[i]!);
        high = Math.max(high, values[i]!);
      }
      if (symmetric) {
        high = Math.max(high, -low);
        low = -high;
      }
      const scale = Math.fround((high - low) / top) || 1;
      const zero = symmetric ? 2 ** (bits - 1) : Math.round(-low / scale);
      scales[row * groups + group] = scale;
      zeroPoints[row * groups + group] = zero;
      for (let i = start; i < end; i++)
        codes[i] = Math.min(top, Math.max(0, Math.round(values[i]! / scale) + zero));
    }
  }
  return { outputs, inputs, bits, groupSize, symmetric, codes, scales, zeroPoints };
}

export const METHODS: ReadonlyMap<string, Method> = new Map([
  [
    'rtn',
    {
      name: 'rtn',
      needs: [],
      sequential: false,
      solve: (weight, grid) => ({ quantized: roundToNearest(weight, grid) }),
    },
  ],
]);
