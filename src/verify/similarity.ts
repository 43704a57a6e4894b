/**
 * How near the outputs of a compressed model are to those of its original: cosine, signal-to-noise ratio and largest
 * difference for each output, over all samples that were run.
 *
 *   cosine = Σab / √(Σa²·Σb²)      SQNR = 10·log10(Σa² / Σ(a−b)²) dB      maxAbs = max |a − b|
 *
 * Values that are equal count as equal, whatever they are (−∞ masks stay −∞). A value that is finite in the original and is
 * not in the result, or the reverse, means that the model is broken: E_VERIFICATION, and so does another shape. Where both
 * hold a NaN, the place is left out.
 */

import { tensorValues } from '../calibration/data/tensor-values.ts';
import { formatShape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import type { RuntimeTensor } from '../runtime/runtime.ts';

export interface OutputComparison {
  readonly name: string;
  /** 1 where nothing differs; 0 where only one is zero everywhere. */
  readonly cosine: number;
  /** dB; Infinity where nothing differs. */
  readonly sqnr: number;
  readonly maxAbs: number;
  /** Share of elements that are exactly equal: what counts for labels and masks. */
  readonly equal: number;
}

/** Adds up one output over several samples. */
export interface SimilarityAccumulator {
  /** E_VERIFICATION where shapes differ or only one side is finite. */
  add(original: RuntimeTensor, result: RuntimeTensor): void;
  result(): OutputComparison;
}

export function createSimilarity(name: string): SimilarityAccumulator {
  let count = 0;
  let equal = 0;
  let squaredA = 0;
  let squaredB = 0;
  let dot = 0;
  let squaredError = 0;
  let maxAbs = 0;
  return {
    add(original, result) {
      if (original.shape.join() !== result.shape.join()) {
        throw new WhittleError('E_VERIFICATION', `output ${name} has another shape than the original's`, {
          tensor: name,
          expected: formatShape(original.shape),
          found: formatShape(result.shape),
        });
      }
      const a = tensorValues(original);
      const b = tensorValues(result);
      for (let i = 0; i < a.length; i++) {
        const x = a[i]!;
        const y = b[i]!;
        count++;
        if (x === y || (Number.isNaN(x) && Number.isNaN(y))) {
          equal++;
          if (!Number.isFinite(x)) continue;
        } else if (!Number.isFinite(x) || !Number.isFinite(y)) {
          throw new WhittleError('E_VERIFICATION', `output ${name} is not finite where the original's is`, {
            tensor: name,
            expected: `${x} at element ${i}`,
            found: String(y),
            hint: 'values overflow in this mode: try q8, or fp16 with the operators in question kept in float32',
          });
        }
        const difference = Math.abs(x - y);
        squaredA += x * x;
        squaredB += y * y;
        dot += x * y;
        squaredError += difference * difference;
        if (difference > maxAbs) maxAbs = difference;
      }
    },
    result: () => ({
      name,
      cosine: squaredError === 0 ? 1 : cosine(dot, squaredA, squaredB),
      sqnr: squaredError === 0 ? Infinity : 10 * Math.log10(squaredA / squaredError),
      maxAbs,
      equal: count === 0 ? 1 : equal / count,
    }),
  };
}

function cosine(dot: number, squaredA: number, squaredB: number): number {
  if (squaredA === 0 || squaredB === 0) return 0;
  return Math.min(1, Math.max(-1, dot / (Math.sqrt(squaredA) * Math.sqrt(squaredB))));
}

export function compareTensors(
  name: string,
  original: RuntimeTensor,
  result: RuntimeTensor,
): OutputComparison {
  const similarity = createSimilarity(name);
  similarity.add(original, result);
  return similarity.result();
}
