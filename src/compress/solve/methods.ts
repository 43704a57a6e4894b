/**
 * The algorithms that a weight can be solved with, by the names that users write, as methods of the solver: what each needs to
 * know of the inputs, and whether layers are calibrated on the inputs of the quantized prefix.
 */

import { clipSearch } from '../../algorithms/clip-search.ts';
import { type GptqOptions, gptq } from '../../algorithms/gptq.ts';
import { fitGrid } from '../../algorithms/grid-fit.ts';
import { halfQuadratic } from '../../algorithms/hqq.ts';
import type { GridOptions, QuantizedMatrix, WeightMatrix } from '../../algorithms/matrix.ts';
import { roundToNearest } from '../../algorithms/rtn.ts';
import type { Collected } from '../../calibration/collect/products.ts';
import type { InputStatistics } from '../../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../../errors.ts';
import type { Method } from './solve.ts';

export { roundToNearest } from '../../algorithms/rtn.ts';

/** One that looks at the weight alone. */
function plain(name: string, solve: (weight: WeightMatrix, grid: GridOptions) => QuantizedMatrix): Method {
  return {
    name,
    needs: [],
    sequential: false,
    solve: (weight, grid) => ({ quantized: solve(weight, grid) }),
  };
}

type Informed = (weight: WeightMatrix, grid: GridOptions, statistics: InputStatistics) => QuantizedMatrix;

/** One that weighs errors by what the inputs are; layers are independent of each other. */
function weighted(name: string, needs: readonly Collected[], solve: Informed): Method {
  return {
    name,
    needs,
    sequential: false,
    solve: (weight, grid, statistics) => ({
      quantized: solve(weight, grid, required(name, statistics)),
    }),
  };
}

function required(name: string, statistics: InputStatistics | undefined): InputStatistics {
  if (statistics !== undefined) return statistics;
  throw new WhittleError('E_USAGE', `${name} looks at what the layers see, and no data was given`, {
    hint: 'Give --data, or take an algorithm that needs none: fit, clip, hqq.',
  });
}

/** One that makes up for errors on later inputs; layers are calibrated on the inputs of the quantized prefix. */
function sequential(
  name: string,
  needs: readonly Collected[],
  settings: Omit<GptqOptions, keyof GridOptions>,
): Method {
  return {
    name,
    needs,
    sequential: true,
    solve(weight, grid, statistics) {
      const quantized = gptq(weight, required(name, statistics), { ...grid, ...settings });
      return { quantized, damping: quantized.damping };
    },
  };
}

const ALL: readonly Method[] = [
  plain('rtn', roundToNearest),
  plain('clip', clipSearch),
  weighted('clip-weighted', ['squares'], (weight, grid, statistics) =>
    clipSearch(weight, grid, { statistics }),
  ),
  plain('fit', fitGrid),
  weighted('fit-weighted', ['squares'], (weight, grid, statistics) => fitGrid(weight, grid, { statistics })),
  plain('hqq', halfQuadratic),
  sequential('gptq', ['gram'], {}),
  sequential('gptq-act-order', ['gram'], { activationOrder: true }),
  sequential('gptaq', ['gram', 'cross'], { activationOrder: true, asymmetric: 1 }),
  sequential('best', ['gram', 'cross'], { activationOrder: true, asymmetric: 1, grid: 'fitted' }),
];

export const METHODS: ReadonlyMap<string, Method> = new Map(ALL.map((method) => [method.name, method]));
