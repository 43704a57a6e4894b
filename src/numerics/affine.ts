/**
 * Affine quantization with 1 to 16 bits: Q(x) = clamp(round(x·T) + B, low, high) with T = 1/scale and B = zero point.
 *
 * Three classic formulas, each with the dequantizer and the error bound that belong to it (s = scale; x inside the
 * range that the parameters were made from; derivations in docs/numerics.md):
 *   round           clamp(round(x·T) + B)        x̂ = (q − B)·s                       |x − x̂| ≤ s/2
 *   floor           clamp(⌊x·T⌋ + B)             x̂ = (q − B + ½)·s (mid-point)       |x − x̂| ≤ s/2   (without ½: < s)
 *   sign-magnitude  clamp(sign(x)·⌊|x|·T⌋ + B)   x̂ = sign(q−B)·(|q−B| + ½)·s, 0 → 0  |x − x̂| < s
 *
 * x·T is computed as f32(x / s): one rounding, as QuantizeLinear does (docs/onnx.md 3.6), and B is added after rounding.
 */

import { f16BitsToF32, f32ToF16Bits } from '../core/floats.ts';
import type { Random } from '../core/random.ts';
import { WhittleError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { ScaleDType } from './operation.ts';
import { kernelsOf } from './weights.ts';

/** `round` rounds to nearest by `Rounding`; the other two cut. */
export type AffineFormula = 'round' | 'floor' | 'sign-magnitude';
/** How `round` breaks ties; `stochastic` rounds up with the probability of the fraction (unbiased, error < s). */
export type AffineRounding = 'halfEven' | 'halfAway' | 'stochastic';

/** The codes of a type and how a range is laid on them. */
export interface AffineGrid {
  /** 1 to 16. */
  readonly bits: number;
  readonly signed: boolean;
  /** The range is ±max(|min|, |max|) and B is 0 (unsigned: the middle code). */
  readonly symmetric: boolean;
  /** Symmetric only: leaves out the lowest code, so that ±x have codes of equal distance ([−127, 127]). */
  readonly restricted: boolean;
  readonly formula: AffineFormula;
  readonly scaleType: ScaleDType;
}

export interface AffineParameters {
  readonly scale: number;
  readonly zeroPoint: number;
  /** Smallest and largest code. */
  readonly low: number;
  readonly high: number;
}

export interface ValueRange {
  readonly min: number;
  readonly max: number;
}

/** Codes of one byte or two each; signed ones in two's complement, sign-extended. */
export type CodeArray = Uint8Array | Int8Array | Uint16Array | Int16Array;

/** Codes that the grid uses. Throws E_USAGE for a width outside 1…16 or a restricted range with no code left. */
export function codeRange(grid: Pick<AffineGrid, 'bits' | 'signed' | 'symmetric' | 'restricted'>): {
  low: number;
  high: number;
} {
  const { bits, signed, symmetric, restricted } = grid;
  if (!Number.isInteger(bits) || bits < 1 || bits > 16) {
    throw new WhittleError('E_USAGE', 'affine codes have 1 to 16 bits', { found: String(bits) });
  }
  const cut = symmetric && restricted ? 1 : 0;
  if (cut === 1 && bits === 1) {
    throw new WhittleError('E_USAGE', 'a restricted range needs at least 2 bits', {
      hint: 'Use the full range with 1 bit.',
    });
  }
  return signed
    ? { low: -(2 ** (bits - 1)) + cut, high: 2 ** (bits - 1) - 1 }
    : { low: cut, high: 2 ** bits - 1 };
}

/**
 * Scale and zero point that cover `range`, widened to contain 0 so that 0 has an exact code (floor: an exact cell edge).
 * A range of zero width at 0, or one so narrow that the scale would vanish, gets the scale 1.
 */
export function affineParameters(range: ValueRange, grid: AffineGrid): AffineParameters {
  const { low, high } = codeRange(grid);
  const min = Math.min(0, range.min);
  const max = Math.max(0, range.max);
  if (!Number.isFinite(min) || !Number.isFinite(max)) {
    throw new WhittleError('E_NONFINITE', 'the range of the values is not finite', {
      found: `[${range.min}, ${range.max}]`,
    });
  }
  const symmetric = grid.symmetric || grid.formula === 'sign-magnitude';
  if (symmetric) {
    const middle = grid.signed ? 0 : 2 ** (grid.bits - 1);
    const bound = Math.max(-min, max);
    // Nearest: half a step beyond the last code still rounds into it. Cutting: the last cell ends one step beyond.
    const steps =
      grid.formula === 'round'
        ? (high - low) / 2
        : grid.formula === 'floor'
          ? middle - low
          : high - middle + 1;
    return { scale: storedScale(bound / steps, grid.scaleType), zeroPoint: middle, low, high };
  }
  const scale = storedScale((max - min) / (high - low), grid.scaleType);
  const shift = grid.formula === 'floor' ? Math.floor(Math.fround(min / scale)) : min / scale;
  return { scale, zeroPoint: clamp(roundHalfEven(low - shift), low, high), low, high };
}

/** Largest |x − x̂| for x inside the covered range, apart from f32 rounding (see docs/numerics.md). */
export function affineErrorBound(scale: number, formula: AffineFormula, rounding: AffineRounding): number {
  const step = Math.abs(scale);
  if (formula === 'sign-magnitude') return step;
  return formula === 'round' && rounding === 'stochastic' ? step : step / 2;
}

export interface QuantizeAffineOptions {
  readonly formula?: AffineFormula | undefined;
  readonly rounding?: AffineRounding | undefined;
  /** Source of randomness of the stochastic rounding. */
  readonly random?: Random | undefined;
  readonly kernels?: Kernels | undefined;
}

/** Writes the codes of `values` to `target`. NaN gets the zero point's code, ±Inf the last code of its side. */
export function quantizeAffine(
  values: Float32Array,
  parameters: AffineParameters,
  target: CodeArray,
  options: QuantizeAffineOptions = {},
): void {
  const { scale, zeroPoint, low, high } = parameters;
  const { formula = 'round', rounding = 'halfEven', random } = options;
  if (formula === 'sign-magnitude') {
    for (let i = 0; i < values.length; i++) {
      const x = Math.fround(values[i]! / scale);
      const magnitude = Math.floor(Math.abs(x));
      const cut = Number.isNaN(x) ? 0 : x < 0 ? -magnitude : magnitude;
      target[i] = clamp(cut + zeroPoint, low, high);
    }
    return;
  }
  if (formula === 'round' && rounding === 'stochastic') {
    if (random === undefined) {
      throw new WhittleError('E_USAGE', 'stochastic rounding needs a seeded source of random numbers');
    }
    for (let i = 0; i < values.length; i++) {
      const x = Math.fround(values[i]! / scale);
      const rounded = Number.isNaN(x) ? 0 : Math.floor(x + random.uniform());
      target[i] = clamp(rounded + zeroPoint, low, high);
    }
    return;
  }
  const mode = formula === 'floor' ? 'floor' : rounding === 'halfAway' ? 'halfAway' : 'halfEven';
  kernelsOf(options).quantizeAffine(values, scale, zeroPoint, low, high, mode, target);
}

/** Inverse of `quantizeAffine` for the same formula; writes f32((q − B + offset) · scale). */
export function dequantizeAffine(
  codes: CodeArray,
  parameters: Pick<AffineParameters, 'scale' | 'zeroPoint'>,
  target: Float32Array,
  options: { readonly formula?: AffineFormula | undefined; readonly kernels?: Kernels | undefined } = {},
): void {
  const { scale, zeroPoint } = parameters;
  switch (options.formula ?? 'round') {
    case 'round':
      kernelsOf(options).dequantizeAffine(codes, scale, zeroPoint, target);
      return;
    case 'floor':
      for (let i = 0; i < codes.length; i++) target[i] = (codes[i]! - zeroPoint + 0.5) * scale;
      return;
    case 'sign-magnitude':
      for (let i = 0; i < codes.length; i++) {
        const steps = codes[i]! - zeroPoint;
        target[i] = (steps + 0.5 * Math.sign(steps)) * scale;
      }
      return;
  }
}

/** The scale as it will be stored; where it vanishes (a range of zeros, or f16 underflow) it is 1. */
function storedScale(scale: number, type: ScaleDType): number {
  const stored = type === 'f16' ? f16BitsToF32(f32ToF16Bits(scale)) : Math.fround(scale);
  if (stored === Number.POSITIVE_INFINITY) {
    throw new WhittleError('E_LIMIT', `the scale ${scale} does not fit the type ${type}`, {
      hint: 'Store the scales as f32.',
    });
  }
  const smallest = type === 'f16' ? 2 ** -14 : 2 ** -126;
  return stored < smallest ? 1 : stored;
}

/** Nearest integer, ties to even. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest < 0.5) return floor;
  if (rest > 0.5) return floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
