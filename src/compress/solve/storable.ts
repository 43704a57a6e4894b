/**
 * What a file can hold: the operators' zero points are integers among the codes, those of HQQ are real. Rounding them asks for
 * other codes, each the nearest on the grid that is stored.
 */

import type { QuantizedMatrix, WeightMatrix } from '../../algorithms/matrix.ts';
import type { Method } from './solve.ts';

/** The same method with results that every integer encoding stores. */
export function storable(method: Method): Method {
  return {
    ...method,
    async solve(weight, grid, statistics) {
      const solution = await method.solve(weight, grid, statistics);
      return { ...solution, quantized: withIntegerZeros(weight, solution.quantized) };
    },
  };
}

/** Integer zero points from 0 to 2^bits − 1, and the nearest codes for them; as it was where they are integers already. */
export function withIntegerZeros(
  { values, outputs, inputs }: WeightMatrix,
  quantized: QuantizedMatrix,
): QuantizedMatrix {
  const { bits, groupSize, scales } = quantized;
  const top = 2 ** bits - 1;
  if (quantized.zeroPoints.every((zero) => Number.isInteger(zero) && zero >= 0 && zero <= top))
    return quantized;
  const groups = Math.ceil(inputs / groupSize);
  const zeroPoints = quantized.zeroPoints.map((zero) => Math.min(top, Math.max(0, Math.round(zero))));
  const codes = new Uint8Array(values.length);
  for (let output = 0; output < outputs; output++) {
    for (let input = 0; input < inputs; input++) {
      const group = output * groups + Math.floor(input / groupSize);
      const code = Math.round(values[output * inputs + input]! / scales[group]!) + zeroPoints[group]!;
      codes[output * inputs + input] = Math.min(top, Math.max(0, code));
    }
  }
  return { ...quantized, codes, zeroPoints };
}
