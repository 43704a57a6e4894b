/**
 * Where the channels of a value lie: for each axis that tells channels apart, a table from the index on that axis to an offset; the
 * channel of an element is the sum of its offsets. So [B, S, H·D] split into heads [B, S, H, D] keeps its channels, as offsets h·D on
 * one axis and d on the next. Axes are counted from the last (−1), since ranks of activations are seldom known.
 */

/** Axis (negative) → offset of each index. Axes that are not in it do not tell channels apart. */
export type ChannelLayout = ReadonlyMap<number, Int32Array>;

/** All `channels` in order along one axis. */
export function alongAxis(axis: number, channels: number): ChannelLayout {
  return new Map([[axis, Int32Array.from({ length: channels }, (_, i) => i)]]);
}

export function sameLayout(a: ChannelLayout, b: ChannelLayout): boolean {
  if (a.size !== b.size) return false;
  for (const [axis, offsets] of a) {
    const other = b.get(axis);
    if (other?.length !== offsets.length || !offsets.every((offset, i) => offset === other[i])) return false;
  }
  return true;
}

/** After (or, with `back`, before) a Transpose. */
export function transposed(layout: ChannelLayout, perm: readonly number[], back: boolean): ChannelLayout {
  const rank = perm.length;
  const moved = new Map<number, Int32Array>();
  for (const [axis, offsets] of layout) {
    const from = axis + rank;
    const to = back ? perm[from] : perm.indexOf(from);
    if (to === undefined || to < 0) return new Map();
    moved.set(to - rank, offsets);
  }
  return moved;
}

/** Splits a table over a · b indices, a major, into one over a and one over b; undefined where it is no sum of two. */
export function splitTable(table: Int32Array, major: number): readonly [Int32Array, Int32Array] | undefined {
  const minor = table.length / major;
  if (!Number.isInteger(minor) || minor === 0) return undefined;
  const first = Int32Array.from({ length: major }, (_, i) => table[i * minor]! - table[0]!);
  const second = table.slice(0, minor);
  for (let i = 0; i < table.length; i++) {
    if (table[i] !== first[Math.floor(i / minor)]! + second[i % minor]!) return undefined;
  }
  return [first, second];
}

/**
 * After a Reshape, matched from the last axis on: an axis of channels may be split into known dimensions, and neighbouring ones
 * merged into one. Undefined where dimensions that matter are not known, or cut across each other.
 * @param to Dimensions of the result from the first; what is not known is undefined.
 */
export function reshaped(
  layout: ChannelLayout,
  to: readonly (number | undefined)[],
): ChannelLayout | undefined {
  const result = new Map<number, Int32Array>();
  const left = new Map(layout);
  let from = -1;
  let target = -1;
  while (left.size > 0) {
    const table = left.get(from);
    // A dimension that nothing is known of: what is before it cannot be matched.
    const size = to.at(target);
    if (table === undefined || size === undefined || -target > to.length) return undefined;
    left.delete(from);
    if (table.length === size) {
      result.set(target, table);
    } else if (table.length > size) {
      let rest = table;
      let known: number | undefined = size;
      while (known !== undefined && rest.length > known) {
        const parts = splitTable(rest, rest.length / known);
        if (parts === undefined) return undefined;
        result.set(target, parts[1]);
        rest = parts[0];
        target--;
        known = -target > to.length ? undefined : to.at(target);
      }
      if (known !== rest.length) return undefined;
      result.set(target, rest);
    } else {
      let merged = table;
      while (merged.length < size) {
        from--;
        const next = left.get(from);
        if (next === undefined) return undefined;
        left.delete(from);
        merged = mergeTables(next, merged);
      }
      if (merged.length !== size) return undefined;
      result.set(target, merged);
    }
    from--;
    target--;
  }
  return result;
}

function mergeTables(major: Int32Array, minor: Int32Array): Int32Array {
  const merged = new Int32Array(major.length * minor.length);
  for (let i = 0; i < merged.length; i++) {
    merged[i] = major[Math.floor(i / minor.length)]! + minor[i % minor.length]!;
  }
  return merged;
}
