/**
 * Moves of the codes of several rows over one H (src/algorithms/learned-rounding-row.ts): the rows take their turns at each input, so that a row
 * of H, f64 [stride, stride], is read once for all of them. `stride` is a multiple of four; H has zeros beyond its n × n, and so has all
 * that runs along its columns: values, gradients, f64 [rows, stride]; codes u8 [rows, stride]. Scales and zeros: f32 [rows, groups].
 */

/** Gains below this share of a value's own error are rounding noise. */
const LEAST_GAIN: f64 = 1e-9;

// @ts-ignore: decorator
@inline
function term(sum: v128, a: v128, b: v128): v128 {
  return f64x2.add(sum, f64x2.mul(a, b));
}

/** The nearest code, halves upwards. */
// @ts-ignore: decorator
@inline
function nearest(value: f64, scale: f64, zero: f64, top: f64): f64 {
  const real = scale == 0 ? zero : value / scale + zero;
  let code = ceil<f64>(real);
  if (code - 0.5 > real) code -= 1;
  return code < 0 ? 0 : min<f64>(code, top);
}

// @ts-ignore: decorator
@inline
function valueOf(code: f64, scale: f64, zero: f64): f64 {
  return <f64>(<f32>(code - zero) * <f32>scale);
}

/** gradient += factor · H[j] */
function addRow(gradient: usize, row: usize, factor: f64, stride: usize): void {
  const f = f64x2.splat(factor);
  const end = gradient + (stride << 3);
  for (; gradient + 32 <= end; gradient += 32, row += 32) {
    v128.store(gradient, term(v128.load(gradient), f, v128.load(row)));
    v128.store(gradient, term(v128.load(gradient, 16), f, v128.load(row, 16)), 16);
  }
  if (gradient < end) v128.store(gradient, term(v128.load(gradient), f, v128.load(row)));
}

/**
 * gradients += differences · H, term after term in the order of the inputs. Two rows by four inputs at a time.
 * @param rows - even @param from, to - inputs, a multiple of four apart; H has so many rows @param columns - even; of H, from the first
 */
export function addProducts(
  gram: usize,
  stride: usize,
  rows: i32,
  differences: usize,
  gradients: usize,
  from: i32,
  to: i32,
  columns: i32,
): void {
  const step = stride << 3;
  const length = <usize>columns << 3;
  for (let j = <usize>from; j < <usize>to; j += 4) {
    const h = gram + j * step;
    for (let r: usize = 0; r < <usize>rows; r += 2) {
      const d = differences + r * step + (j << 3);
      const x0 = v128.load64_splat(d);
      const x1 = v128.load64_splat(d, 8);
      const x2 = v128.load64_splat(d, 16);
      const x3 = v128.load64_splat(d, 24);
      const y0 = v128.load64_splat(d + step);
      const y1 = v128.load64_splat(d + step, 8);
      const y2 = v128.load64_splat(d + step, 16);
      const y3 = v128.load64_splat(d + step, 24);
      const gx = gradients + r * step;
      const gy = gx + step;
      for (let k: usize = 0; k < length; k += 16) {
        let p = h + k;
        let x = v128.load(gx + k);
        let y = v128.load(gy + k);
        let v = v128.load(p);
        x = term(x, x0, v);
        y = term(y, y0, v);
        p += step;
        v = v128.load(p);
        x = term(x, x1, v);
        y = term(y, y1, v);
        p += step;
        v = v128.load(p);
        x = term(x, x2, v);
        y = term(y, y2, v);
        v = v128.load(p + step);
        v128.store(gx + k, term(x, x3, v));
        v128.store(gy + k, term(y, y3, v));
      }
    }
  }
}

/**
 * Single moves until none helps, at most `sweeps` times. @param active - u8 [rows]: rows that take part; written: cleared
 * @param gains - f64 [rows]: grow by how much the errors fell
 */
export function descendSingly(
  gram: usize,
  stride: usize,
  n: i32,
  rows: i32,
  groupSize: i32,
  groups: usize,
  codes: usize,
  scales: usize,
  zeros: usize,
  values: usize,
  gradients: usize,
  top: f64,
  sweeps: i32,
  active: usize,
  moved: usize,
  gains: usize,
): void {
  for (let sweep = 0; sweep < sweeps; sweep++) {
    memory.fill(moved, 0, rows);
    let group: usize = 0;
    let left = groupSize;
    for (let j: usize = 0; j < <usize>n; j++) {
      const h = gram + ((j * stride) << 3);
      const own = load<f64>(h + (j << 3));
      for (let r: usize = 0; r < <usize>rows; r++) {
        if (load<u8>(active + r) == 0) continue;
        const scale = <f64>load<f32>(scales + ((r * groups + group) << 2));
        if (scale == 0) continue;
        const zero = <f64>load<f32>(zeros + ((r * groups + group) << 2));
        const at = r * stride + j;
        const value = load<f64>(values + (at << 3));
        const slope = load<f64>(gradients + (at << 3));
        const code = nearest(value - slope / own, scale, zero, top);
        if (code == <f64>load<u8>(codes + at)) continue;
        const next = valueOf(code, scale, zero);
        const change = next - value;
        const gain = -change * (2 * slope + change * own);
        if (gain <= LEAST_GAIN * own * scale * scale) continue;
        addRow(gradients + ((r * stride) << 3), h, change, stride);
        store<f64>(values + (at << 3), next);
        store<u8>(codes + at, <u8>(<i32>code));
        store<f64>(gains + (r << 3), load<f64>(gains + (r << 3)) + gain);
        store<u8>(moved + r, 1);
      }
      if (--left == 0) {
        left = groupSize;
        group++;
      }
    }
    let any = 0;
    for (let r: usize = 0; r < <usize>rows; r++) {
      if (load<u8>(moved + r) == 0) store<u8>(active + r, 0);
      else any = 1;
    }
    if (any == 0) return;
  }
  memory.fill(active, 0, rows);
}

/** What the cheaper of a value's two steps may not do: Infinity where it would leave the codes; for slopes above 0, and others. */
// @ts-ignore: decorator
@inline
function setBounds(code: i32, top: i32, size: f64, rising: usize, falling: usize): void {
  const down: f64 = code > 0 ? 0 : Infinity;
  const up: f64 = code < top ? 0 : Infinity;
  store<f64>(rising, size > 0 ? down : up);
  store<f64>(falling, size > 0 ? up : down);
}

/** What a partner's best step would add to the error, for two inputs. */
// @ts-ignore: decorator
@inline
function partner(k: usize, gradient: usize, h: usize, diagonal: usize, sizes: usize, rising: usize, falling: usize, change: v128): v128 {
  const slope = f64x2.add(v128.load(gradient + k), f64x2.mul(change, v128.load(h + k)));
  const size = v128.load(sizes + k);
  const bound = v128.bitselect(v128.load(rising + k), v128.load(falling + k), f64x2.gt(slope, f64x2.splat(0)));
  const steep = f64x2.abs(slope);
  const sum = f64x2.sub(f64x2.mul(size, v128.load(diagonal + k)), f64x2.add(steep, steep));
  return f64x2.add(f64x2.mul(size, sum), bound);
}

/**
 * One pass of pair moves. @param diagonal - of H, f64 [stride]
 * @param frame - room for 3 · rows · stride f64 @param gains - f64 [rows]: grow
 */
export function descendInPairs(
  gram: usize,
  diagonal: usize,
  stride: usize,
  n: i32,
  rows: i32,
  groupSize: i32,
  groups: usize,
  codes: usize,
  scales: usize,
  zeros: usize,
  values: usize,
  gradients: usize,
  top: i32,
  active: usize,
  frame: usize,
  gains: usize,
): void {
  const plane = (<usize>rows * stride) << 3;
  const bytes = stride << 3;
  for (let r: usize = 0; r < <usize>rows; r++) {
    let to = frame + r * bytes;
    for (let k: usize = 0; k < stride; k++, to += 8) {
      if (k >= <usize>n) {
        store<f64>(to, 0);
        store<f64>(to + plane, Infinity);
        store<f64>(to + 2 * plane, Infinity);
        continue;
      }
      const size = <f64>load<f32>(scales + ((r * groups + k / <usize>groupSize) << 2));
      store<f64>(to, abs<f64>(size));
      setBounds(load<u8>(codes + r * stride + k), top, size, to + plane, to + 2 * plane);
    }
  }
  for (let j: usize = 0; j < <usize>n; j++) {
    const h = gram + j * bytes;
    for (let r: usize = 0; r < <usize>rows; r++) {
      if (load<u8>(active + r) == 0) continue;
      const group = j / <usize>groupSize;
      const scale = <f64>load<f32>(scales + ((r * groups + group) << 2));
      if (scale == 0) continue;
      const gradient = gradients + r * bytes;
      const slope = load<f64>(gradient + (j << 3));
      const codeAt = codes + r * stride;
      const code = <i32>load<u8>(codeAt + j) + (slope > 0 == scale > 0 ? -1 : 1);
      if (code < 0 || code > top) continue;
      const zero = <f64>load<f32>(zeros + ((r * groups + group) << 2));
      const value = values + r * bytes;
      const next = valueOf(<f64>code, scale, zero);
      const change = next - load<f64>(value + (j << 3));
      const own = load<f64>(diagonal + (j << 3));
      const cost = change * (2 * slope + change * own);
      const limit = -LEAST_GAIN * own * scale * scale - cost;
      // No partner of itself.
      const sizes = frame + r * bytes;
      const rising = sizes + plane;
      const falling = rising + plane;
      const wasRising = load<f64>(rising + (j << 3));
      const wasFalling = load<f64>(falling + (j << 3));
      store<f64>(rising + (j << 3), Infinity);
      store<f64>(falling + (j << 3), Infinity);
      const x = f64x2.splat(change);
      let least = f64x2.splat(limit);
      let other = least;
      let k: usize = 0;
      for (; k + 32 <= bytes; k += 32) {
        least = f64x2.pmin(least, partner(k, gradient, h, diagonal, sizes, rising, falling, x));
        other = f64x2.pmin(other, partner(k + 16, gradient, h, diagonal, sizes, rising, falling, x));
      }
      if (k < bytes) least = f64x2.pmin(least, partner(k, gradient, h, diagonal, sizes, rising, falling, x));
      least = f64x2.pmin(least, other);
      const a = f64x2.extract_lane(least, 0);
      const b = f64x2.extract_lane(least, 1);
      const best = b < a ? b : a;
      let found: usize = -1;
      if (best < limit) {
        const wanted = f64x2.splat(best);
        for (k = 0; k < bytes; k += 16) {
          const same = f64x2.eq(partner(k, gradient, h, diagonal, sizes, rising, falling, x), wanted);
          if (!v128.any_true(same)) continue;
          found = (k >> 3) + (i64x2.extract_lane(same, 0) != 0 ? 0 : 1);
          break;
        }
      }
      store<f64>(rising + (j << 3), wasRising);
      store<f64>(falling + (j << 3), wasFalling);
      if (found == -1) continue;
      const far = found / <usize>groupSize;
      const size = <f64>load<f32>(scales + ((r * groups + far) << 2));
      const tilt = load<f64>(gradient + (found << 3)) + change * load<f64>(h + (found << 3));
      const second = <i32>load<u8>(codeAt + found) + (tilt > 0 == size > 0 ? -1 : 1);
      addRow(gradient, h, change, stride);
      store<f64>(value + (j << 3), next);
      store<u8>(codeAt + j, code);
      setBounds(code, top, scale, rising + (j << 3), falling + (j << 3));
      const farValue = valueOf(<f64>second, size, <f64>load<f32>(zeros + ((r * groups + far) << 2)));
      addRow(gradient, gram + found * bytes, farValue - load<f64>(value + (found << 3)), stride);
      store<f64>(value + (found << 3), farValue);
      store<u8>(codeAt + found, second);
      setBounds(second, top, size, rising + (found << 3), falling + (found << 3));
      store<f64>(gains + (r << 3), load<f64>(gains + (r << 3)) - (cost + best));
    }
  }
}
