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
  for (let i = 0; i < values.length; i++) {
    const factor = factors[channelAt(i, dims, layout)]!;
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
  for (let i = 0; i < values.length; i++) {
    const channel = channelAt(i, dims, layout);
    const magnitude = Math.abs(values[i]!);
    if (magnitude > peaks[channel]!) peaks[channel] = magnitude;
  }
  return peaks;
}

/** Channel of the i-th element. */
function channelAt(index: number, dims: readonly number[], layout: ChannelLayout): number {
  let rest = index;
  let channel = 0;
  for (let axis = -1; -axis <= dims.length; axis--) {
    const size = dims.at(axis)!;
    const offsets = layout.get(axis);
    if (offsets !== undefined) channel += offsets[rest % size]!;
    rest = Math.floor(rest / size);
  }
  return channel;
}
