/**
 * The algorithms that a weight can be solved with, by the names that users write, as methods of the solver: what each needs to
 * know of the inputs, and whether layers are calibrated on the inputs of the quantized prefix.
 */

import { awq } from '../../algorithms/awq.ts';
import { clipSearch } from '../../algorithms/clip-search.ts';
import { fitCodebook, gptqCodebook, roundToCodebook } from '../../algorithms/codebook.ts';
import { type GptqOptions, gptq, roundingProblem } from '../../algorithms/gptq.ts';
import { fitGrid } from '../../algorithms/grid-fit.ts';
import { halfQuadratic } from '../../algorithms/hqq.ts';
import { refineRounding } from '../../algorithms/learned-rounding.ts';
import type { GridOptions, QuantizedMatrix, WeightMatrix } from '../../algorithms/matrix.ts';
import { roundToNearest } from '../../algorithms/rtn.ts';
import type { Collected } from '../../calibration/collect/products.ts';
import type { InputStatistics } from '../../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../../errors.ts';
import type { GridKernels } from '../../kernels/grid/index.ts';
import { algebraKernels, gridKernels } from './kernels.ts';
import type { Method } from './solve.ts';

export { roundToNearest } from '../../algorithms/rtn.ts';

/** On code books there are these: nearest levels, fitted scales, and error feedback. */
type OnCodebook = Pick<Method, 'solveCodebook'>;

const NEAREST: OnCodebook = {
  solveCodebook: (weight, codebook) => ({ quantized: roundToCodebook(weight, codebook) }),
};

const FITTED: OnCodebook = {
  solveCodebook: (weight, codebook, statistics) => ({
    quantized: fitCodebook(weight, codebook, statistics),
  }),
};

/** One that looks at the weight alone. */
function plain(
  name: string,
  solve: (weight: WeightMatrix, grid: GridOptions, kernels: GridKernels) => QuantizedMatrix,
): Method {
  return {
    name,
    needs: [],
    sequential: false,
    solve: async (weight, grid) => ({ quantized: solve(weight, grid, await gridKernels()) }),
    ...(name === 'rtn' ? NEAREST : FITTED),
  };
}

type Informed = (
  weight: WeightMatrix,
  grid: GridOptions,
  statistics: InputStatistics,
  kernels: GridKernels,
) => QuantizedMatrix;

/** One that weighs errors by what the inputs are; layers are independent of each other. */
function weighted(name: string, needs: readonly Collected[], solve: Informed): Method {
  return {
    name,
    needs,
    sequential: false,
    solve: async (weight, grid, statistics) => ({
      quantized: solve(weight, grid, required(name, statistics), await gridKernels()),
    }),
    ...FITTED,
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
  refined = false,
): Method {
  return {
    name,
    needs,
    sequential: true,
    async solve(weight, grid, statistics) {
      const seen = required(name, statistics);
      const algebra = await algebraKernels();
      const problem = roundingProblem(weight, seen, settings, algebra);
      const start = gptq(weight, seen, { ...grid, ...settings, problem }, await gridKernels(), algebra);
      const { damping } = start;
      if (!refined) return { quantized: start, damping };
      const { scaleType, zeroPoints } = grid;
      const refinement = { problem, scaleType, zeroPoints, rounds: 1 };
      return { quantized: refineRounding(weight, start, seen, refinement, algebra), damping };
    },
    async solveCodebook(weight, codebook, statistics) {
      const { activationOrder, asymmetric, damping } = settings;
      const options = { ...codebook, activationOrder, asymmetric, damping };
      const quantized = gptqCodebook(weight, required(name, statistics), options, await algebraKernels());
      const instead = refined
        ? { algorithm: 'gptaq', reason: 'on a code book best goes no further than gptaq' }
        : undefined;
      return { quantized, damping: quantized.damping, instead };
    },
  };
}

/**
 * Scales of the inputs, for each weight alone. They have to be folded into what produces the inputs, so a file cannot hold the result of
 * one layer: for comparison, not offered to users.
 */
const awqScales: Method = {
  name: 'awq',
  needs: ['squares', 'magnitudes', 'gram'],
  sequential: false,
  async solve(weight, grid, statistics) {
    const seen = required('awq', statistics);
    const kernels = [await gridKernels(), await algebraKernels()] as const;
    const result = awq([weight], seen, grid, { clip: false }, ...kernels);
    const [quantized] = result.quantized;
    if (quantized === undefined) throw new Error('one weight gives one result');
    return { quantized, effective: result.effective[0] };
  },
};

/** Where there is nothing to weigh errors with. */
export const WITHOUT_DATA: Method = plain('fit', (weight, grid, kernels) =>
  fitGrid(weight, grid, { zeros: grid.zeroPoints }, kernels),
);

const ALL: readonly Method[] = [
  plain('rtn', roundToNearest),
  plain('clip', (weight, grid, kernels) => clipSearch(weight, grid, {}, kernels)),
  weighted('clip-weighted', ['squares'], (weight, grid, statistics, kernels) =>
    clipSearch(weight, grid, { statistics }, kernels),
  ),
  WITHOUT_DATA,
  weighted('fit-weighted', ['squares'], (weight, grid, statistics, kernels) =>
    fitGrid(weight, grid, { statistics, zeros: grid.zeroPoints }, kernels),
  ),
  plain('hqq', (weight, grid, kernels) => halfQuadratic(weight, grid, kernels)),
  awqScales,
  sequential('gptq', ['gram'], {}),
  sequential('gptq-act-order', ['gram'], { activationOrder: true }),
  sequential('gptaq', ['gram', 'cross'], { activationOrder: true, asymmetric: 1 }),
  sequential('best', ['gram', 'drift'], { activationOrder: true, asymmetric: 1 }, true),
];

export const METHODS: ReadonlyMap<string, Method> = new Map(ALL.map((method) => [method.name, method]));
