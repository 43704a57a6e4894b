/**
 * What every algorithm on groups checks and allocates: a weight matrix and grid options that are sound, an empty result for
 * them, and the importance of inputs that calibration's sums of squares give. Weighting an error by E[x²] of its input is the
 * diagonal of the layer's output error, ‖(W − Ŵ) X‖² ≈ Σ_j E[x_j²] (w_j − ŵ_j)².
 */

import type { InputStatistics } from '../calibration/statistics/input-statistics.ts';
import { WhittleError } from '../errors.ts';
import type { GridShape, GridTarget } from '../kernels/grid/index.ts';
import type { GridOptions, QuantizedMatrix, WeightMatrix } from './matrix.ts';

/** Above it a sum of squares over a group may leave f32. */
const LARGEST_WEIGHT = 1e15;

/**
 * Throws unless the matrix and the options describe each other.
 * @throws WhittleError E_SHAPE, E_TENSOR_SIZE, E_NONFINITE
 */
export function checkMatrix(matrix: WeightMatrix, options: Pick<GridOptions, 'bits' | 'groupSize'>): void {
  const { values, outputs, inputs } = matrix;
  requireCount('outputs', outputs, 0);
  requireCount('inputs', inputs, 0);
  requireCount('groupSize', options.groupSize, 1);
  if (!Number.isInteger(options.bits) || options.bits < 2 || options.bits > 8) {
    throw new WhittleError('E_SHAPE', 'codes of this width have no grid', {
      expected: '2 to 8 bits',
      found: String(options.bits),
    });
  }
  if (values.length !== outputs * inputs) {
    throw new WhittleError('E_TENSOR_SIZE', 'the weight does not fill its matrix', {
      expected: `${outputs} × ${inputs} values`,
      found: `${values.length} values`,
    });
  }
  for (let i = 0; i < values.length; i++) {
    // NaN fails the comparison too.
    if (Math.abs(values[i]!) <= LARGEST_WEIGHT) continue;
    throw new WhittleError(
      'E_NONFINITE',
      `weight [${Math.floor(i / inputs)}, ${i % inputs}] cannot be quantized`,
      {
        expected: `a number of magnitude up to ${LARGEST_WEIGHT}`,
        found: String(values[i]),
        hint: 'Repair the model, or keep this tensor in its float type.',
      },
    );
  }
}

function requireCount(what: string, value: number, least: number): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new WhittleError('E_SHAPE', `'${what}' is not a count`, {
    expected: `an integer of at least ${least}`,
    found: String(value),
  });
}

/** Shape of the grid that options give a matrix; a group longer than a row is the row. */
export function gridShape({ outputs, inputs }: WeightMatrix, options: GridOptions): GridShape {
  return {
    rows: outputs,
    columns: inputs,
    groupSize: Math.max(1, Math.min(options.groupSize, inputs)),
    bits: options.bits,
    symmetric: options.symmetric,
    half: options.scaleType === 'f16',
  };
}

/** Runs a kernel into a new result. */
export function quantizeWith(
  matrix: WeightMatrix,
  options: GridOptions,
  run: (shape: GridShape, target: GridTarget) => void,
): QuantizedMatrix {
  checkMatrix(matrix, options);
  const shape = gridShape(matrix, options);
  const groups = Math.ceil(shape.columns / shape.groupSize);
  const codes = new Uint8Array(shape.rows * shape.columns);
  const scales = new Float32Array(shape.rows * groups);
  const zeros = new Float32Array(shape.rows * groups);
  run(shape, { codes, scales, zeros });
  const { bits, symmetric, groupSize } = shape;
  return {
    outputs: shape.rows,
    inputs: shape.columns,
    bits,
    groupSize,
    symmetric,
    codes,
    scales,
    zeroPoints: zeros,
  };
}

/**
 * E[x²] of each input divided by their mean; undefined where nothing was seen.
 * @throws WhittleError E_SHAPE where the statistics are of another product, E_NONFINITE
 */
export function importanceOf(statistics: InputStatistics, inputs: number): Float32Array | undefined {
  const { squares } = statistics;
  if (squares.length !== inputs) {
    throw new WhittleError('E_SHAPE', 'the statistics are of another product', {
      expected: `${inputs} inputs`,
      found: `${squares.length} inputs`,
    });
  }
  let sum = 0;
  for (let i = 0; i < inputs; i++) sum += squares[i]!;
  if (!Number.isFinite(sum)) {
    throw new WhittleError('E_NONFINITE', 'the statistics hold a sum of squares that is not finite', {
      found: String(sum),
      hint: 'Calibrate again with data that the model computes without NaN or Infinity.',
    });
  }
  if (sum <= 0) return undefined;
  const scale = inputs / sum;
  return Float32Array.from(squares, (value) => value * scale);
}
