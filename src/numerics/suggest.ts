/**
 * Choice of the level: measures the error of candidate encodings and granularities on the values themselves and names the
 * cheapest (in stored bits per weight, scales and zero points included) that meets a demand, with every row as evidence.
 *
 * Large tensors are sampled: whole rows, evenly spaced (whole columns for scales per column), 2^16
 * values unless told otherwise; the answer says so. The range of a whole-tensor scale is always that of all values. The matrix
 * that is measured is [first dimension, rest]; its `shape` is in the answer, since groups run along its rows.
 * From statistics alone the values are drawn from the histogram (evenly within a bin, seeded order): an estimate, marked as
 * such, which cannot know how values are arranged, so that group and channel rows assume no structure.
 */

import { elementCount, type Shape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import type { Kernels } from '../kernels/kernels.ts';
import { scaleBits } from './encodings/encoding.ts';
import { ENCODINGS, type EncodingId } from './encodings/registry.ts';
import type { ErrorMetrics } from './error.ts';
import { formatGranularity, type Granularity, layOutGroups } from './granularity.ts';
import { quantizeTensor } from './quantize-tensor.ts';
import { drawFromHistogram, sampleMatrix, type TensorSample } from './sampling.ts';
import { resolveScheme, type TensorScheme } from './scheme.ts';
import type { TensorStatistics } from './statistics/accumulator.ts';
import { checkShape, kernelsOf, toFloat32, type WeightOptions, type WeightValues } from './weights.ts';

/** At least one; all that are given must hold. */
export interface Demand {
  /** Least signal to quantization noise, dB. */
  readonly sqnr?: number | undefined;
  /** Largest |x − x̂|. */
  readonly maxError?: number | undefined;
  /** Most stored bits per weight; alone it asks for the best SQNR within it. */
  readonly bits?: number | undefined;
}

export interface SuggestOptions extends WeightOptions {
  /** Shape of the values; of statistics: of the tensor they are of. Default: one dimension. */
  readonly shape?: Shape | undefined;
  /** Default: `defaultCandidates`. */
  readonly candidates?: readonly TensorScheme[] | undefined;
  /** Most values measured for each candidate. Default 2^16. */
  readonly sampleSize?: number | undefined;
}

export interface SuggestionRow {
  readonly encoding: EncodingId;
  /** As text: "tensor", "axis 0", "group 32"; "none" for a cast. */
  readonly granularity: string;
  readonly scheme: TensorScheme;
  /** Of the whole tensor, with scales and zero points. */
  readonly bitsPerWeight: number;
  readonly error: Pick<ErrorMetrics, 'maxAbs' | 'rmse' | 'sqnr' | 'cosine'>;
  readonly met: boolean;
}

export interface Suggestion {
  /** Whether `best` meets the demand; if not, it is the row that comes closest. */
  readonly met: boolean;
  readonly best: SuggestionRow;
  /** All candidates by bits per weight, then by SQNR. */
  readonly rows: readonly SuggestionRow[];
  readonly demand: Demand;
  /** Shape to pass to `quantizeTensor` with `best.scheme`. */
  readonly shape: Shape;
  /** Values that were measured, of how many. */
  readonly measured: { readonly values: number; readonly of: number };
  /** Errors are of values drawn from a histogram, not of the tensor. */
  readonly estimated: boolean;
  /** One sentence. */
  readonly summary: string;
}

const GROUPS = [128, 64, 32] as const;
const SAMPLE = 1 << 16;

/** Candidates for a matrix of this shape: every encoding at the granularities that are usual for it. */
export function defaultCandidates(shape: Shape): TensorScheme[] {
  const tensor: Granularity = { kind: 'tensor' };
  const axes: Granularity[] = shape.length < 2 ? [] : [0, 1].map((axis) => ({ kind: 'axis', axis }));
  const groups: Granularity[] = GROUPS.map((size) => ({ kind: 'group', axis: -1, size }));
  return ENCODINGS.flatMap((row): TensorScheme[] => {
    const base = { encoding: row.id };
    // f8_e8m0 is for scales; the fnuz types differ from the others in range only and run on few machines.
    if (row.id === 'f8_e8m0' || row.id.endsWith('fnuz')) return [];
    if (row.affine) {
      const wide = row.bits >= 8 ? [tensor, ...axes] : axes;
      const narrow = row.bits <= 8 ? groups : [];
      return [...wide, ...narrow].map((granularity) => ({ ...base, granularity }));
    }
    if (row.scaleType === 'optional') {
      const scaled = [...(row.bits === 8 ? [tensor, ...axes] : []), ...(row.bits < 8 ? groups : [])];
      return [...(row.bits === 8 ? [base] : []), ...scaled.map((granularity) => ({ ...base, granularity }))];
    }
    return [base];
  });
}

/** Names the cheapest encoding that meets `demand`. Throws E_USAGE for an empty demand or no values, E_NONFINITE, E_SHAPE. */
export function suggestEncoding(
  source: WeightValues | TensorStatistics,
  demand: Demand,
  options: SuggestOptions = {},
): Suggestion {
  checkDemand(demand);
  const kernels = kernelsOf(options);
  const estimated = 'histogram' in source;
  const count = estimated ? source.finite : source.length;
  if (count === 0) throw new WhittleError('E_USAGE', 'there are no values to choose an encoding for');
  const shape = matrixShape(options.shape ?? [count]);
  checkShape(shape, estimated ? source.count : count);
  const limit = Math.max(1, options.sampleSize ?? SAMPLE);
  const sample = estimated
    ? drawFromHistogram(source, limit)
    : sampleMatrix(toFloat32(source, options), shape, limit, kernels);
  const candidates = options.candidates ?? defaultCandidates(shape);
  if (candidates.length === 0) throw new WhittleError('E_USAGE', 'there are no candidates to choose from');
  const rows = candidates
    .map((scheme) => measureCandidate(scheme, sample, shape, demand, kernels))
    .sort((a, b) => a.bitsPerWeight - b.bitsPerWeight || b.error.sqnr - a.error.sqnr);
  const best = chooseRow(rows, demand);
  return {
    met: best.met,
    best,
    rows,
    demand,
    shape,
    measured: { values: sample.rows.values.length, of: count },
    estimated,
    summary: summarize(best, demand, estimated),
  };
}

function measureCandidate(
  scheme: TensorScheme,
  sample: TensorSample,
  shape: Shape,
  demand: Demand,
  kernels: Kernels,
): SuggestionRow {
  const resolved = resolveScheme(scheme);
  const { granularity } = resolved;
  const perColumn = granularity.kind === 'axis' && shape.length === 2 && granularity.axis % 2 !== 0;
  const { values, shape: sampleShape } = perColumn ? sample.columns() : sample.rows;
  // What the sample happens to miss still stretches the scale of the whole tensor.
  const ranged =
    resolved.scaled && granularity.kind === 'tensor' && scheme.range === undefined
      ? { ...scheme, range: sample.range }
      : scheme;
  const { maxAbs, rmse, sqnr, cosine } = quantizeTensor(values, sampleShape, ranged, { kernels }).error();
  const bitsPerWeight = storedBits(scheme, shape);
  const met =
    (demand.sqnr === undefined || sqnr >= demand.sqnr) &&
    (demand.maxError === undefined || maxAbs <= demand.maxError) &&
    (demand.bits === undefined || bitsPerWeight <= demand.bits);
  return {
    encoding: scheme.encoding,
    granularity: resolved.scaled ? formatGranularity(resolved.granularity) : 'none',
    scheme,
    bitsPerWeight,
    error: { maxAbs, rmse, sqnr, cosine },
    met,
  };
}

/** Stored bits per weight of a tensor of `shape` under `scheme`, without computing anything. */
export function storedBits(scheme: TensorScheme, shape: Shape): number {
  const { row, granularity, scaled, symmetric, scaleType } = resolveScheme(scheme);
  const count = elementCount(shape) ?? 0;
  if (!scaled || count === 0) return row.bits;
  const { groups } = layOutGroups(shape, granularity);
  const perGroup = scaleBits(row, scaleType) + (row.affine && !symmetric ? row.bits : 0);
  return row.bits + (groups * perGroup + (row.tensorScale === undefined ? 0 : 32)) / count;
}

function chooseRow(rows: readonly SuggestionRow[], demand: Demand): SuggestionRow {
  const bySqnr = (list: readonly SuggestionRow[]): SuggestionRow | undefined =>
    list.reduce<SuggestionRow | undefined>(
      (best, row) => (best === undefined || row.error.sqnr > best.error.sqnr ? row : best),
      undefined,
    );
  const meeting = rows.filter((row) => row.met);
  const onlyBits = demand.sqnr === undefined && demand.maxError === undefined;
  const chosen = onlyBits ? bySqnr(meeting) : meeting[0];
  if (chosen !== undefined) return chosen;
  const { bits } = demand;
  const affordable = bits === undefined ? rows : rows.filter((row) => row.bitsPerWeight <= bits);
  // Nothing fits the size: the smallest. Else the most exact of what fits.
  return (affordable.length === 0 ? undefined : bySqnr(affordable)) ?? rows[0]!;
}

function summarize(best: SuggestionRow, demand: Demand, estimated: boolean): string {
  const asked = [
    demand.sqnr === undefined ? undefined : `SQNR of at least ${demand.sqnr} dB`,
    demand.maxError === undefined ? undefined : `error of at most ${demand.maxError}`,
    demand.bits === undefined ? undefined : `at most ${demand.bits} bits per weight`,
  ]
    .filter((text) => text !== undefined)
    .join(' and ');
  const { encoding, granularity, bitsPerWeight, error } = best;
  const scales = granularity === 'none' ? '' : `, scale per ${granularity}`;
  const figures = `${encoding}${scales}: ${bitsPerWeight.toFixed(2)} bits per weight, ${estimated ? 'estimated ' : ''}SQNR ${error.sqnr.toFixed(1)} dB, largest error ${error.maxAbs.toPrecision(3)}`;
  return best.met
    ? `${figures} (asked: ${asked})`
    : `Nothing meets the demand (${asked}); closest is ${figures}`;
}

/** [first dimension, rest]; a tensor of one dimension or none stays as it is. */
function matrixShape(shape: Shape): Shape {
  if (shape.length <= 2) return shape.length === 0 ? [1] : shape;
  const [first = 1, ...rest] = shape;
  return [first, rest.reduce((product, dim) => product * dim, 1)];
}

function checkDemand(demand: Demand): void {
  const given = [demand.sqnr, demand.maxError, demand.bits].filter((value) => value !== undefined);
  if (given.length === 0 || given.some((value) => Number.isNaN(value))) {
    throw new WhittleError('E_USAGE', 'say what is asked for: sqnr, maxError or bits', {
      found: JSON.stringify(demand),
      hint: 'For example { sqnr: 30 }.',
    });
  }
}
