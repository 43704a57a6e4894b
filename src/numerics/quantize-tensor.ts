/**
 * One tensor, any encoding, any granularity: `quantizeTensor` → plain data with `dequantize()` and `error()` on it;
 * `dequantizeTensor` from the plain data alone.
 *
 * The way: values → f32 → for each group: range → scale and zero point → codes → packed bytes. Groups that lie in one
 * piece are quantized in place; others are gathered, coded and scattered. Codes keep the order of the values.
 */

import { createRandom } from '../core/random.ts';
import type { Shape } from '../core/shape.ts';
import type { Kernels } from '../kernels/kernels.ts';
import type { AffineFormula, CodeArray, ValueRange } from './affine.ts';
import { packCodes, unpackCodes } from './codes.ts';
import { type EncodingContext, scaleBits } from './encodings/encoding.ts';
import { type EncodingId, encoding } from './encodings/registry.ts';
import { type ErrorOptions, measureError, type TensorError } from './error.ts';
import {
  type Granularity,
  gatherCodes,
  gatherGroup,
  isContiguous,
  layOutGroups,
  scatterGroup,
} from './granularity.ts';
import type { ScaleDType } from './operation.ts';
import { quantizeByRule } from './rule-blocks.ts';
import { type ResolvedScheme, resolveScheme, type TensorScheme } from './scheme.ts';
import {
  checkShape,
  kernelsOf,
  refuseNonFinite,
  toFloat32,
  type WeightOptions,
  type WeightValues,
} from './weights.ts';

/** All that is needed to get the values back; structured-clonable. */
export interface QuantizedData {
  readonly encoding: EncodingId;
  readonly shape: Shape;
  readonly granularity: Granularity;
  /** Packed codes in the order of the values. */
  readonly data: Uint8Array;
  /** One for each group, as their stored type rounds them; empty where there is no scale. */
  readonly scales: Float32Array;
  readonly scaleShape: Shape;
  readonly scaleType: ScaleDType | 'f8_e8m0' | 'f8_e4m3fn' | null;
  /** One for each group when asymmetric. */
  readonly zeroPoints: Int32Array | undefined;
  /** Zero point of all groups where `zeroPoints` is undefined. */
  readonly implicitZeroPoint: number;
  /** Second scale over all groups (nvfp4), else 1. */
  readonly tensorScale: number;
  readonly formula: AffineFormula;
}

export interface QuantizedTensor extends QuantizedData {
  /** Bytes of codes, scales and zero points as a file stores them. */
  readonly bytes: number;
  readonly bitsPerWeight: number;
  /** One code per element, signed ones with their sign. */
  codes(): CodeArray;
  dequantize(): Float32Array;
  /** Error against the values that were quantized. */
  error(options?: Pick<ErrorOptions, 'groupSize'>): TensorError;
}

/**
 * Quantizes `values` of `shape`. `scheme` may be just an encoding's id. Throws E_SHAPE, E_DTYPE, E_USAGE, and E_NONFINITE
 * unless the scheme says `nonFinite: 'keep'`.
 */
export function quantizeTensor(
  values: WeightValues,
  shape: Shape,
  scheme: TensorScheme | EncodingId,
  options: WeightOptions = {},
): QuantizedTensor {
  checkShape(shape, values.length);
  const resolved = resolveScheme(scheme);
  const kernels = kernelsOf(options);
  const floats = toFloat32(values, options);
  const { nonFinite } = kernels.range(floats);
  if (nonFinite > 0 && resolved.nonFinite === 'refuse') refuseNonFinite(floats);
  const source =
    nonFinite > 0 && !resolved.row.keepsNonFinite ? withoutNonFinite(floats, resolved, shape) : floats;
  const data =
    resolved.rule === undefined
      ? quantizeGroups(source, shape, resolved, kernels)
      : quantizeByRule(source, shape, resolved, resolved.rule, kernels);
  const { row } = resolved;
  const scalars =
    data.scales.length * scaleBits(row, resolved.scaleType) + (row.tensorScale === undefined ? 0 : 32);
  const zeroPointBits = (data.zeroPoints?.length ?? 0) * row.bits;
  const bytes = data.data.length + Math.ceil(scalars / 8) + Math.ceil(zeroPointBits / 8);
  const dequantize = () => dequantizeTensor(data, { kernels });
  return {
    ...data,
    bytes,
    bitsPerWeight:
      floats.length === 0 ? row.bits : (floats.length * row.bits + scalars + zeroPointBits) / floats.length,
    codes: () => unpackCodes(row, data.data, floats.length, kernels),
    dequantize,
    error: (errorOptions = {}) => measureError(floats, dequantize(), { ...errorOptions, kernels }),
  };
}

/** Values of a quantized tensor, f32. */
export function dequantizeTensor(
  quantized: QuantizedData,
  options: { readonly kernels?: Kernels | undefined } = {},
): Float32Array {
  const kernels = kernelsOf(options);
  const row = encoding(quantized.encoding);
  const layout = layOutGroups(quantized.shape, quantized.granularity);
  const count = quantized.shape.reduce((product, dim) => product * dim, 1);
  const codes = unpackCodes(row, quantized.data, count, kernels);
  const values = new Float32Array(count);
  const context = { formula: quantized.formula, tensorScale: quantized.tensorScale, kernels };
  const scratchCodes = row.codeArray(layout.largest);
  const scratch = new Float32Array(layout.largest);
  for (let g = 0; g < layout.groups; g++) {
    const group = layout.group(g);
    const parameters = {
      scale: quantized.scales[g] ?? 1,
      zeroPoint: quantized.zeroPoints?.[g] ?? quantized.implicitZeroPoint,
    };
    if (isContiguous(group)) {
      const end = group.start + group.length;
      row.dequantize(
        codes.subarray(group.start, end),
        parameters,
        context,
        values.subarray(group.start, end),
      );
      continue;
    }
    const size = group.runs * group.length;
    gatherCodes(codes, group, scratchCodes);
    row.dequantize(scratchCodes.subarray(0, size), parameters, context, scratch.subarray(0, size));
    scatterGroup(scratch, group, values);
  }
  return values;
}

function quantizeGroups(
  values: Float32Array,
  shape: Shape,
  scheme: ResolvedScheme,
  kernels: Kernels,
): QuantizedData {
  const { row, granularity } = scheme;
  const layout = layOutGroups(shape, granularity);
  const context: EncodingContext = {
    ...scheme,
    tensorScale: row.tensorScale?.(absmax(kernels.range(values))) ?? 1,
    random: createRandom(scheme.seed),
    kernels,
  };
  const codes = row.codeArray(values.length);
  const scales = new Float32Array(scheme.scaled ? layout.groups : 0);
  const zeroPoints = row.affine && !scheme.symmetric ? new Int32Array(layout.groups) : undefined;
  const scratch = new Float32Array(layout.largest);
  const scratchCodes = row.codeArray(layout.largest);
  for (let g = 0; g < layout.groups; g++) {
    const group = layout.group(g);
    const members = gatherGroup(values, group, scratch);
    const parameters = row.parameters(groupRange(members, scheme, kernels), context);
    if (scheme.scaled) scales[g] = parameters.scale;
    if (zeroPoints !== undefined) zeroPoints[g] = parameters.zeroPoint;
    if (isContiguous(group)) {
      row.quantize(members, parameters, context, codes.subarray(group.start, group.start + group.length));
    } else {
      row.quantize(members, parameters, context, scratchCodes.subarray(0, members.length));
      scatterGroup(scratchCodes, group, codes);
    }
  }
  return {
    encoding: row.id,
    shape: [...shape],
    granularity,
    data: packCodes(row, codes, kernels),
    scales,
    scaleShape: layout.scaleShape,
    scaleType: storedScaleType(scheme),
    zeroPoints,
    implicitZeroPoint: row.affine && !row.signed ? 2 ** (row.bits - 1) : 0,
    tensorScale: context.tensorScale,
    formula: scheme.formula,
  };
}

function storedScaleType(scheme: ResolvedScheme): QuantizedData['scaleType'] {
  const { scaleType } = scheme.row;
  if (!scheme.scaled || scaleType === 'none') return null;
  return scaleType === 'choice' || scaleType === 'optional' ? scheme.scaleType : scaleType;
}

/** Range of the finite members; an empty or wholly non-finite group has the range 0…0. */
function groupRange(members: Float32Array, scheme: ResolvedScheme, kernels: Kernels): ValueRange {
  if (typeof scheme.range === 'function') return scheme.range(members);
  if (scheme.range !== undefined) return scheme.range;
  if (!scheme.scaled) return { min: 0, max: 0 };
  const { min, max } = kernels.range(members);
  return min <= max ? { min, max } : { min: 0, max: 0 };
}

/** Policy `keep` for encodings without such codes: NaN → 0, ±Inf → the largest finite magnitude of its group. */
function withoutNonFinite(values: Float32Array, scheme: ResolvedScheme, shape: Shape): Float32Array {
  const copy = Float32Array.from(values);
  const layout = layOutGroups(shape, scheme.granularity);
  for (let g = 0; g < layout.groups; g++) {
    const { start, runs, runStride, length, step } = layout.group(g);
    const places: number[] = [];
    let largest = 0;
    for (let run = 0; run < runs; run++) {
      for (let i = 0; i < length; i++) {
        const at = start + run * runStride + i * step;
        const value = values[at]!;
        if (!Number.isFinite(value)) places.push(at);
        else largest = Math.max(largest, Math.abs(value));
      }
    }
    for (const at of places) {
      const value = values[at]!;
      copy[at] = Number.isNaN(value) ? 0 : value > 0 ? largest : -largest;
    }
  }
  return copy;
}

function absmax(range: ValueRange): number {
  return range.min <= range.max ? Math.max(Math.abs(range.min), Math.abs(range.max)) : 0;
}
