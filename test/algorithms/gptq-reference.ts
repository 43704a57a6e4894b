/** Correlated problems of a seed, and GPTQ as its paper has it: with the inverse of H and its upper Cholesky factor. */

import { nearestCode } from '../../src/algorithms/babai.ts';
import { dequantizeMatrix, type QuantizedMatrix, type WeightMatrix } from '../../src/algorithms/matrix.ts';
import { createRandom } from '../../src/core/random.ts';

export interface Problem {
  readonly weight: WeightMatrix;
  readonly statistics: {
    readonly inputs: number;
    readonly rows: number;
    readonly squares: Float64Array;
    readonly gram: Float32Array;
    readonly cross: Float32Array;
  };
  /** ‖W X_float − Ŵ X‖². */
  readonly floatError: (quantized: QuantizedMatrix) => number;
}

/** Inputs x = z · mixing with z and mixing normal; those of the float model lie `drift` away, along a map of x. */
export function correlatedProblem(
  outputs: number,
  inputs: number,
  rows: number,
  drift = 0,
  seed = 7,
): Problem {
  const random = createRandom(seed);
  const normal = (count: number): Float64Array => Float64Array.from({ length: count }, () => random.normal());
  const values = Float32Array.from(normal(outputs * inputs));
  const x = multiply(normal(rows * inputs), normal(inputs * inputs), inputs);
  const shift = multiply(x, normal(inputs * inputs), inputs);
  const float = x.map((value, i) => value + (drift / Math.sqrt(inputs)) * shift[i]!);
  const gram = new Float32Array(inputs * inputs);
  const cross = new Float32Array(inputs * inputs);
  for (let i = 0; i < inputs; i++) {
    for (let j = 0; j < inputs; j++) {
      let own = 0;
      let other = 0;
      for (let row = 0; row < rows; row++) {
        const at = row * inputs;
        own += x[at + i]! * x[at + j]!;
        other += (float[at + i]! - x[at + i]!) * x[at + j]!;
      }
      gram[i * inputs + j] = own;
      cross[i * inputs + j] = other;
    }
  }
  const squares = Float64Array.from({ length: inputs }, (_, i) => gram[i * inputs + i]!);
  const floatError = (quantized: QuantizedMatrix): number => {
    const restored = dequantizeMatrix(quantized);
    let sum = 0;
    for (let row = 0; row < rows; row++) {
      for (let output = 0; output < outputs; output++) {
        let difference = 0;
        for (let i = 0; i < inputs; i++) {
          const at = output * inputs + i;
          difference += values[at]! * float[row * inputs + i]! - restored[at]! * x[row * inputs + i]!;
        }
        sum += difference ** 2;
      }
    }
    return sum;
  };
  return {
    weight: { values, outputs, inputs },
    statistics: { inputs, rows, squares, gram, cross },
    floatError,
  };
}

function multiply(a: Float64Array, b: Float64Array, n: number): Float64Array {
  const product = new Float64Array(a.length);
  for (let row = 0; row < a.length / n; row++) {
    for (let k = 0; k < n; k++) {
      const factor = a[row * n + k]!;
      for (let j = 0; j < n; j++) product[row * n + j] = product[row * n + j]! + factor * b[k * n + j]!;
    }
  }
  return product;
}

/** Codes on the grid of `grid`, first column to last: W −= error / U_cc · U_c, with H⁻¹ = Uᵀ U. */
export function inverseForm(
  { values, outputs, inputs: n }: WeightMatrix,
  gram: Float32Array,
  damping: number,
  grid: QuantizedMatrix,
): Uint8Array {
  const damped = Float64Array.from(gram);
  let mean = 0;
  for (let i = 0; i < n; i++) mean += gram[i * n + i]! / n;
  for (let i = 0; i < n; i++) damped[i * n + i] = damped[i * n + i]! + damping * mean;
  const upper = upperFactor(inverse(damped, n), n);
  const groups = Math.ceil(n / grid.groupSize);
  const w = Float64Array.from(values);
  const codes = new Uint8Array(outputs * n);
  for (let c = 0; c < n; c++) {
    for (let row = 0; row < outputs; row++) {
      const at = row * n + c;
      const group = row * groups + Math.floor(c / grid.groupSize);
      const scale = grid.scales[group]!;
      const zero = grid.zeroPoints[group]!;
      const code = nearestCode(w[at]!, scale, zero, 2 ** grid.bits - 1);
      codes[at] = code;
      const error = (w[at]! - (code - zero) * scale) / upper[c * n + c]!;
      for (let j = c; j < n; j++) w[row * n + j] = w[row * n + j]! - error * upper[c * n + j]!;
    }
  }
  return codes;
}

/** Gauss-Jordan. */
function inverse(matrix: Float64Array, n: number): Float64Array {
  const a = matrix.slice();
  const result = new Float64Array(n * n);
  for (let i = 0; i < n; i++) result[i * n + i] = 1;
  for (let c = 0; c < n; c++) {
    const pivot = a[c * n + c]!;
    for (let j = 0; j < n; j++) {
      a[c * n + j] = a[c * n + j]! / pivot;
      result[c * n + j] = result[c * n + j]! / pivot;
    }
    for (let i = 0; i < n; i++) {
      const factor = a[i * n + c]!;
      if (i === c || factor === 0) continue;
      for (let j = 0; j < n; j++) {
        a[i * n + j] = a[i * n + j]! - factor * a[c * n + j]!;
        result[i * n + j] = result[i * n + j]! - factor * result[c * n + j]!;
      }
    }
  }
  return result;
}

/** U upper with A = Uᵀ U. */
function upperFactor(a: Float64Array, n: number): Float64Array {
  const upper = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      let sum = a[i * n + j]!;
      for (let k = 0; k < i; k++) sum -= upper[k * n + i]! * upper[k * n + j]!;
      upper[i * n + j] = i === j ? Math.sqrt(sum) : sum / upper[i * n + i]!;
    }
  }
  return upper;
}
