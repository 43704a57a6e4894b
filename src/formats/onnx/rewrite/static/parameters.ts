/**
 * Scales and zero points of everything that was selected (docs/onnx.md 3.7), from ranges of activations and values of weights.
 *
 *   activation  onnxruntimeScale of its range; Relu and Clip give their input the range of their output, Softmax gives [0, 1]
 *   weight      the same of its values, per channel symmetric; one bit less with reduceRange
 *   bias        int32 with scale f32(f32(s_input · s_weight) · β): q = clip(roundEven(f64(b) / f64(scale)))
 *   where s_input · s_weight < 1.0001 · 2·max|b| / (2³² − 2), the scale of a signed, symmetric weight is enlarged by the ratio
 */

import { WhittleError } from '../../../../errors.ts';
import { roundHalfEven, type ValueRange } from '../../../../numerics/affine.ts';
import { onnxruntimeScale } from '../../../../numerics/onnxruntime-scale.ts';
import type { GraphProto } from '../../messages.ts';
import type { MarkedBias, Selection } from './select.ts';
import type { ActivationType, StaticSettings } from './settings.ts';

export interface TensorParameters {
  readonly type: ActivationType;
  /** null: one scale for the tensor. */
  readonly axis: number | null;
  readonly scales: Float32Array;
  readonly zeroPoints: Int32Array;
  readonly symmetric: boolean;
  readonly reduceRange: boolean;
  /** The scales are not those that the values alone give: a bias enlarged them, or a least range was demanded. */
  readonly adjusted: boolean;
}

export interface BiasParameters extends MarkedBias {
  readonly scales: Float32Array;
  readonly codes: Int32Array;
}

export interface StaticParameters {
  readonly activations: ReadonlyMap<string, TensorParameters>;
  readonly weights: ReadonlyMap<string, TensorParameters>;
  readonly biases: readonly BiasParameters[];
  /** Ranges after sharing by Relu, Clip and Softmax. */
  readonly ranges: ReadonlyMap<string, ValueRange>;
}

export interface ConstantValues {
  readonly values: Float32Array;
  readonly shape: readonly number[];
}

export interface ParameterFacts {
  readonly graph: GraphProto;
  readonly selection: Selection;
  readonly settings: StaticSettings;
  readonly ranges: ReadonlyMap<string, ValueRange>;
  /** Values of the selected initializers and biases. */
  readonly constants: ReadonlyMap<string, ConstantValues>;
  /** Constants that are quantized as weights are: their values decide, not a range. */
  readonly isWeight: (name: string) => boolean;
}

/** @throws WhittleError E_CALIBRATION-like E_GRAPH where a range is missing, E_NONFINITE where one is not finite */
export function staticParameters(facts: ParameterFacts): StaticParameters {
  const { selection, settings, constants, isWeight } = facts;
  const ranges = sharedRanges(facts);
  const activations = new Map<string, TensorParameters>();
  const weights = new Map<string, TensorParameters>();
  for (const [name, mark] of selection.tensors) {
    if (mark.kind === 'shared') continue;
    const constant = constants.get(name);
    if (constant !== undefined && isWeight(name)) {
      weights.set(name, weightParameters(constant, mark.kind === 'weight' ? mark.axis : undefined, settings));
      continue;
    }
    activations.set(name, activationParameters(name, ranges.get(name) ?? rangeOf(constant), settings));
  }
  const scaleOf = (name: string): number | undefined => {
    const mark = selection.tensors.get(name);
    const own = mark?.kind === 'shared' ? mark.provider : name;
    return (activations.get(own) ?? weights.get(own))?.scales[0];
  };
  for (const { bias, input, weight } of selection.biases) {
    const found = weights.get(weight);
    const scale = scaleOf(input);
    const values = constants.get(bias)?.values;
    if (found === undefined || scale === undefined || values === undefined) continue;
    const enlarged = enlargedScales(found, scale, values);
    if (enlarged !== undefined) weights.set(weight, { ...found, scales: enlarged, adjusted: true });
  }
  const biases = selection.biases.flatMap((marked): BiasParameters[] => {
    const scale = scaleOf(marked.input);
    const weight = weights.get(marked.weight) ?? activations.get(marked.weight);
    const values = constants.get(marked.bias)?.values;
    if (scale === undefined || weight === undefined || values === undefined) return [];
    return [{ ...marked, ...biasCodes(values, scale, weight.scales, marked.beta) }];
  });
  return { activations, weights, biases, ranges };
}

function rangeOf(constant: ConstantValues | undefined): ValueRange | undefined {
  if (constant === undefined || constant.values.length === 0) return undefined;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const value of constant.values) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min, max };
}

/** Later nodes read what earlier ones changed: graph order, as onnxruntime goes. */
function sharedRanges({ graph, selection, ranges: given }: ParameterFacts): Map<string, ValueRange> {
  const ranges = new Map(given);
  const readers = new Map<string, number>();
  for (const node of graph.node)
    for (const name of node.input) readers.set(name, (readers.get(name) ?? 0) + 1);
  for (const node of graph.node) {
    if (!selection.nodes.has(node)) continue;
    const [input = ''] = node.input;
    const [output = ''] = node.output;
    if (node.opType === 'Softmax') ranges.set(output, { min: 0, max: 1 });
    const range = ranges.get(output);
    const cuts = node.opType === 'Clip' || node.opType === 'Relu';
    if (cuts && range !== undefined && readers.get(input) === 1 && ranges.has(input))
      ranges.set(input, range);
  }
  return ranges;
}

function activationParameters(
  name: string,
  range: ValueRange | undefined,
  settings: StaticSettings,
): TensorParameters {
  if (range === undefined) {
    throw new WhittleError('E_GRAPH', 'no range was collected for an activation', {
      tensor: name,
      hint: 'Calibrate again: the ranges belong to another model or recipe.',
    });
  }
  if (!Number.isFinite(range.min) || !Number.isFinite(range.max) || range.min > range.max) {
    throw new WhittleError('E_NONFINITE', 'the range of an activation is not finite', {
      tensor: name,
      expected: 'finite values',
      found: `${range.min} … ${range.max}`,
      hint: 'The data make the original model compute NaN or Inf here; look at the samples, or exclude this node.',
    });
  }
  const { activations: type, symmetricActivations: symmetric, minimumRealRange: minimumRange } = settings;
  const { scale, zeroPoint } = onnxruntimeScale(range, { type, symmetric, minimumRange });
  return {
    type,
    axis: null,
    scales: Float32Array.of(scale),
    zeroPoints: Int32Array.of(zeroPoint),
    symmetric,
    reduceRange: false,
    adjusted: minimumRange !== undefined,
  };
}

/** `axis` undefined: a constant operand of an elementwise operator, in the type of activations. */
function weightParameters(
  { values, shape }: ConstantValues,
  axis: number | null | undefined,
  settings: StaticSettings,
): TensorParameters {
  const { reduceRange, minimumRealRange: minimumRange } = settings;
  const type = axis === undefined ? settings.activations : settings.weights;
  const own =
    axis === undefined
      ? settings.symmetricActivations
      : (settings.symmetricWeights ?? settings.weights === 'int8');
  const symmetric = typeof axis === 'number' || own;
  const channels = typeof axis === 'number' ? (shape[axis] ?? 1) : 1;
  const inner = typeof axis === 'number' ? shape.slice(axis + 1).reduce((a, b) => a * b, 1) : values.length;
  const min = new Float64Array(channels);
  const max = new Float64Array(channels);
  for (let i = 0; i < values.length; i++) {
    const channel = channels === 1 ? 0 : Math.floor(i / inner) % channels;
    const value = values[i]!;
    if (value < min[channel]!) min[channel] = value;
    if (value > max[channel]!) max[channel] = value;
  }
  const scales = new Float32Array(channels);
  const zeroPoints = new Int32Array(channels);
  for (let c = 0; c < channels; c++) {
    const range = { min: min[c]!, max: max[c]! };
    const found = onnxruntimeScale(range, { type, symmetric, reduceRange, minimumRange });
    scales[c] = found.scale;
    zeroPoints[c] = found.zeroPoint;
  }
  return {
    type,
    axis: axis ?? null,
    scales,
    zeroPoints,
    symmetric,
    reduceRange,
    adjusted: minimumRange !== undefined,
  };
}

const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;
const LEAST_RATIO = 1.0001 / (INT32_MAX - (INT32_MIN + 1));

/** Undefined where every bias fits. */
function enlargedScales(
  { scales, zeroPoints, type }: TensorParameters,
  input: number,
  bias: Float32Array,
): Float32Array | undefined {
  if ((type !== 'int8' && type !== 'int16') || zeroPoints.some((zero) => zero !== 0)) return undefined;
  const result = scales.slice();
  const peak = bias.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  let changed = false;
  for (let c = 0; c < scales.length; c++) {
    const largest = scales.length === 1 ? peak : Math.abs(bias[c] ?? 0);
    const least = LEAST_RATIO * (2 * largest);
    const candidate = input * scales[c]!;
    if (!(candidate < least && candidate > 0)) continue;
    result[c] = scales[c]! * (least / candidate);
    changed = true;
  }
  return changed ? result : undefined;
}

function biasCodes(
  values: Float32Array,
  input: number,
  weight: Float32Array,
  beta: number,
): { scales: Float32Array; codes: Int32Array } {
  const scales = weight.map((scale) => Math.fround(Math.fround(input * scale) * Math.fround(beta)));
  const codes = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const code = roundHalfEven(values[i]! / scales[scales.length === 1 ? 0 : i]!);
    codes[i] = Math.min(INT32_MAX, Math.max(INT32_MIN, code));
  }
  return { scales, codes };
}
