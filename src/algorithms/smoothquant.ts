/**
 * SmoothQuant: G. Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2022. A few
 * channels of an activation are a hundred times louder than the rest, and one scale for the tensor leaves the rest nothing. Dividing
 * each channel by s_j and multiplying the weights that read it moves the difficulty to where it costs less:
 *
 *     s_j = max |x_j|^α / max |w_j|^(1 − α)
 *
 * α = 0.5 shares it evenly. `searchSmoothing` chooses α for each place by what it minimises: the expected error of the outputs where
 * activations have one 8-bit scale for the tensor and weights one for each output, with rounding errors uniform in a step Δ,
 *
 *     Σ_o Σ_j (w_oj s_j)² Δ_x² / 12 + Σ_o Σ_j E[x_j²] / s_j² Δ_o² / 12,   Δ_x = 2 max_j (|x_j| / s_j) / 255,  Δ_o = 2 max_j |w_oj s_j| / 127.
 *
 * Cost: two walks over the weights for each α that is tried.
 */

/** A weight that reads channels: W [outputs, inputs] with the channel of each input. */
export interface ReadingWeight {
  /** f32 [outputs, inputs]. */
  readonly values: Float32Array;
  readonly outputs: number;
  readonly inputs: number;
  /** [inputs]: channel that an input belongs to. */
  readonly channels: Int32Array;
  /** [outputs], added to it: groups of a convolution. Absent: 0. */
  readonly offsets?: Int32Array | undefined;
}

/** What runs showed of the channels. */
export interface ChannelStatistics {
  /** max |x| of each channel. */
  readonly peaks: Float32Array;
  /** E[x²] of each channel. */
  readonly power: Float64Array;
}

export interface Smoothing {
  /** Undefined where leaving the place alone is expected to be best. */
  readonly alpha: number | undefined;
  /** What the channels are divided by; geometric mean 1. */
  readonly factors: Float64Array;
  /** Expected error of the outputs, as a share of what it is without. */
  readonly share: number;
}

/** Levels of a grid less one: 8 bits for activations, 7 for weights, as static-int8 stores them for machines without VNNI. */
const ACTIVATION_STEPS = 255;
const WEIGHT_STEPS = 127;
/** Relative to the loudest: a channel that was silent in all samples may speak later. */
const QUIETEST = 1e-5;

/** The factors for one α; 1 in channels that are zero in every weight. */
export function smoothingFactors(
  peaks: Float32Array,
  weightPeaks: Float32Array,
  alpha: number,
): Float64Array {
  const floor = QUIETEST * peaks.reduce((most, peak) => Math.max(most, peak), 0);
  const logs = Float64Array.from(peaks, (peak, j) => {
    const reading = weightPeaks[j]!;
    const seen = Math.max(peak, floor);
    return seen > 0 && reading > 0 ? alpha * Math.log(seen) - (1 - alpha) * Math.log(reading) : Number.NaN;
  });
  const known = logs.filter((log) => !Number.isNaN(log));
  // A factor for all of them moves nothing between activations and weights.
  const mean = known.reduce((sum, log) => sum + log, 0) / Math.max(1, known.length);
  return logs.map((log) => (Number.isNaN(log) ? 1 : Math.exp(log - mean)));
}

/** Largest magnitude with which any of the weights reads each channel. */
export function readingPeaks(weights: readonly ReadingWeight[], channels: number): Float32Array {
  const peaks = new Float32Array(channels);
  for (const weight of weights) {
    const { values, inputs } = weight;
    for (let i = 0; i < values.length; i++) {
      const channel = channelOf(weight, Math.floor(i / inputs), i % inputs);
      peaks[channel] = Math.max(peaks[channel]!, Math.abs(values[i]!));
    }
  }
  return peaks;
}

/** The α among k / points, or none at all, that leaves the smallest expected error. */
export function searchSmoothing(
  weights: readonly ReadingWeight[],
  statistics: ChannelStatistics,
  points = 20,
): Smoothing {
  const channels = statistics.peaks.length;
  const weightPeaks = readingPeaks(weights, channels);
  const none = new Float64Array(channels).fill(1);
  const before = expectedError(weights, statistics, none);
  let best: Smoothing = { alpha: undefined, factors: none, share: 1 };
  for (let k = 0; k <= points; k++) {
    const alpha = k / points;
    const factors = smoothingFactors(statistics.peaks, weightPeaks, alpha);
    const share = expectedError(weights, statistics, factors) / before;
    if (share < best.share) best = { alpha, factors, share };
  }
  return best;
}

/** Expected squared error of all outputs for one x, in 8 bits. */
export function expectedError(
  weights: readonly ReadingWeight[],
  { peaks, power }: ChannelStatistics,
  factors: Float64Array,
): number {
  let loudest = 0;
  for (let j = 0; j < peaks.length; j++) loudest = Math.max(loudest, peaks[j]! / factors[j]!);
  const activationStep = (2 * loudest) / ACTIVATION_STEPS;
  let error = 0;
  for (const weight of weights) {
    const { values, outputs, inputs } = weight;
    for (let o = 0; o < outputs; o++) {
      let most = 0;
      let squares = 0;
      let noise = 0;
      for (let j = 0; j < inputs; j++) {
        const channel = channelOf(weight, o, j);
        const value = values[o * inputs + j]! * factors[channel]!;
        most = Math.max(most, Math.abs(value));
        squares += value * value;
        noise += power[channel]! / factors[channel]! ** 2;
      }
      const weightStep = (2 * most) / WEIGHT_STEPS;
      error += squares * activationStep ** 2 + noise * weightStep ** 2;
    }
  }
  return error / 12;
}

function channelOf({ channels, offsets }: ReadingWeight, output: number, input: number): number {
  return channels[input]! + (offsets === undefined ? 0 : offsets[output]!);
}
