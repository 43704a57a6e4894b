/** Multiplies the elements of a tensor with the factor of the channel that each belongs to. */

import type { ChannelLayout } from './layout.ts';

/**
 * @param values Row-major, of `dims`; changed in place.
 * @param layout Axes counted from the last.
 * @param factors One for each channel.
 * @param invert Divide.
 */
export function scaleChannels(
  values: Float32Array,
  dims: readonly number[],
  layout: ChannelLayout,
  factors: Float32Array | Float64Array,
  invert: boolean,
): void {
  for (const { start, length, channel } of runs(dims, layout)) {
    const factor = factors[channel]!;
    for (let i = start; i < start + length; i++)
      values[i] = invert ? values[i]! / factor : values[i]! * factor;
  }
}

/** Largest magnitude of each channel. */
export function channelPeaks(
  values: Float32Array,
  dims: readonly number[],
  layout: ChannelLayout,
  channels: number,
): Float32Array {
  const peaks = new Float32Array(channels);
  for (const { start, length, channel } of runs(dims, layout)) {
    let most = peaks[channel]!;
    for (let i = start; i < start + length; i++) {
      const magnitude = Math.abs(values[i]!);
      if (magnitude > most) most = magnitude;
    }
    peaks[channel] = most;
  }
  return peaks;
}

interface Run {
  start: number;
  length: number;
  channel: number;
}

/** Consecutive elements of one channel, in order; the object is reused. */
function* runs(dims: readonly number[], layout: ChannelLayout): Generator<Run> {
  const rank = dims.length;
  const last = Math.max(-1, ...[...layout.keys()].map((axis) => axis + rank));
  const length = dims.slice(last + 1).reduce((product, size) => product * size, 1);
  const outer = dims.slice(0, last + 1);
  const count = outer.reduce((product, size) => product * size, 1);
  const tables = outer.map((_, axis) => layout.get(axis - rank));
  const index = new Int32Array(outer.length);
  const run: Run = { start: 0, length, channel: 0 };
  for (let at = 0; at < count; at++) {
    run.channel = 0;
    for (let axis = 0; axis < index.length; axis++) run.channel += tables[axis]?.[index[axis]!] ?? 0;
    run.start = at * length;
    yield run;
    for (let axis = index.length - 1; axis >= 0; axis--) {
      if (++index[axis]! < outer[axis]!) break;
      index[axis] = 0;
    }
  }
}
