/** Methods whose results a file can hold: zeros and codes as the form of the grid stores them (algorithms/stored-zeros.ts). */

import { withStoredZeros } from '../../algorithms/stored-zeros.ts';
import type { Method } from './solve.ts';

/** The same method with results that the encoding of the grid stores. */
export function storable(method: Method): Method {
  return {
    ...method,
    async solve(weight, grid, statistics) {
      const solution = await method.solve(weight, grid, statistics);
      return { ...solution, quantized: withStoredZeros(weight, solution.quantized, grid) };
    },
  };
}
