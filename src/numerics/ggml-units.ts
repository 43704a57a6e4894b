/**
 * Codes of the block types whose values are points of a code book (IQ2, IQ3) or uneven levels (IQ4, MXFP4, NVFP4), chosen one by one on
 * scales that the encoder has set. A lattice's unit are eight values: one or two points for the magnitudes, and eight signs, of which some types
 * store seven, an even number being negative.
 *
 * The scale of a unit follows from what the decoder makes of a code that is known. Source: the data sheets of docs/encodings.md; layouts as in
 * src/kernels/ggml/lattice/layouts.ts.
 */

import { BLOCK_TYPES, type BlockType } from '../core/ggml-types.ts';
import { codebookValues } from '../kernels/ggml/codebooks/codebook.ts';
import { FORMS, type LatticeType } from '../kernels/ggml/lattice/forms.ts';
import { codeLayout, replaceCodes } from './ggml-codes.ts';

/** As algorithms/unit-feedback.ts wants it. */
interface Chooser {
  propose(unit: number, wanted: Float64Array, weights: Float64Array, values: Float64Array): void;
  accept(unit: number): void;
  finish(): void;
}

export interface UnitCodes {
  /** Values of a unit. */
  readonly width: number;
  /** @param row - blocks of a row, as the encoder left them; `finish` changes their codes */
  open(row: Uint8Array): Chooser;
}

type Decode = (blocks: Uint8Array) => Float32Array;

/** undefined for types that have no such units. @param decode - of the type */
export function unitCodes(type: BlockType, decode: Decode): UnitCodes | undefined {
  if (isLattice(type)) return { width: 8, open: (row) => latticeRow(type, row, decode) };
  const levels = codeLayout(type)?.levels;
  return levels && { width: 1, open: (row) => levelRow(type, levels, row, decode) };
}

function levelRow(type: BlockType, levels: readonly number[], row: Uint8Array, decode: Decode): Chooser {
  const { size, bytes } = BLOCK_TYPES[type];
  const codes = new Uint8Array((row.length / bytes) * size);
  const known = levels.indexOf(1);
  replaceCodes(type, row, codes.fill(known));
  const scales = decode(row);
  let code = 0;
  return {
    propose(unit, wanted, _weights, values) {
      const scale = scales[unit]!;
      code = 0;
      for (let other = 1; other < levels.length; other++) {
        const nearer =
          Math.abs(levels[other]! * scale - wanted[0]!) < Math.abs(levels[code]! * scale - wanted[0]!);
        if (nearer) code = other;
      }
      values[0] = levels[code]! * scale;
    },
    accept: (unit) => {
      codes[unit] = code;
    },
    finish: () => replaceCodes(type, row, codes),
  };
}

function isLattice(type: BlockType): type is LatticeType & BlockType {
  return Object.hasOwn(FORMS, type);
}

/** Bits of a block: where they begin, and how many there are. */
type Bits = readonly [start: number, count: number];

interface Fields {
  /** Of point `group`, lowest first. */
  point(group: number): readonly Bits[];
  /** Of the signs of eight values. */
  signs(eight: number): Bits;
}

const FIELDS: Readonly<Record<LatticeType, Fields>> = {
  iq2_xxs: {
    point: (group) => [[8 * (2 + 8 * (group >> 2) + (group & 3)), 8]],
    signs: (eight) => [8 * (6 + 8 * (eight >> 2)) + 7 * (eight & 3), 7],
  },
  iq2_xs: {
    point: (group) => [[8 * (2 + 2 * group), 9]],
    signs: (eight) => [8 * (2 + 2 * eight) + 9, 7],
  },
  iq2_s: {
    point: (group) => [
      [8 * (2 + group), 8],
      [8 * 66 + 2 * group, 2],
    ],
    signs: (eight) => [8 * (34 + eight), 8],
  },
  iq3_xxs: {
    point: (group) => [[8 * (2 + group), 8]],
    signs: (eight) => [8 * (66 + 4 * (eight >> 2)) + 7 * (eight & 3), 7],
  },
  iq3_s: {
    point: (group) => [
      [8 * (2 + group), 8],
      [8 * 66 + group, 1],
    ],
    signs: (eight) => [8 * (74 + eight), 8],
  },
};

/** Values of a block of every lattice type. */
const BLOCK = 256;

function putBits(block: Uint8Array, [start, count]: Bits, value: number): void {
  for (let i = 0; i < count; i++) {
    const at = (start + i) >> 3;
    const bit = 1 << ((start + i) & 7);
    block[at] = (value >> i) & 1 ? block[at]! | bit : block[at]! & ~bit;
  }
}

function latticeRow(type: LatticeType & BlockType, row: Uint8Array, decode: Decode): Chooser {
  const { book, evenSigns } = FORMS[type];
  const { bytes } = BLOCK_TYPES[type];
  const { dimensions } = book;
  const grid = codebookValues(book);
  const points = grid.length / dimensions;
  const perUnit = 8 / dimensions;
  const units = ((row.length / bytes) * BLOCK) / 8;
  const chosen = { points: new Uint16Array(units * perUnit), signs: new Uint8Array(units) };
  const put = (): void => {
    for (let unit = 0; unit < units; unit++) {
      const block = row.subarray(Math.floor(unit / 32) * bytes, (Math.floor(unit / 32) + 1) * bytes);
      putBits(block, FIELDS[type].signs(unit & 31), chosen.signs[unit]!);
      for (let k = 0; k < perUnit; k++) {
        let point = chosen.points[unit * perUnit + k]!;
        for (const bits of FIELDS[type].point((unit & 31) * perUnit + k)) {
          putBits(block, bits, point & ((1 << bits[1]) - 1));
          point >>= bits[1];
        }
      }
    }
  };
  put();
  // All codes are 0 now: what they decode to is the scale times the first point.
  const first = decode(row);
  const scales = Float64Array.from({ length: units }, (_, unit) => first[unit * 8]! / grid[0]!);
  const proposed = { points: new Uint16Array(perUnit), signs: 0 };
  const magnitudes = new Float64Array(8);
  return {
    propose(unit, wanted, weights, values) {
      const scale = scales[unit]!;
      // A scale is not negative but in files that other encoders made: the signs say the rest.
      const way = scale < 0 ? -1 : 1;
      let signs = 0;
      let cheapest = 0;
      let odd = false;
      for (let i = 0; i < 8; i++) {
        const negative = wanted[i]! * way < 0;
        magnitudes[i] = Math.abs(wanted[i]!);
        if (negative) signs |= 1 << i;
        odd = odd !== negative;
        if (weights[i]! * magnitudes[i]! ** 2 < weights[cheapest]! * magnitudes[cheapest]! ** 2) cheapest = i;
      }
      if (evenSigns && odd) {
        signs ^= 1 << cheapest;
        magnitudes[cheapest] = -magnitudes[cheapest]!;
      }
      proposed.signs = signs;
      for (let k = 0; k < perUnit; k++) {
        const point = nearestPoint(
          grid,
          points,
          dimensions,
          Math.abs(scale),
          magnitudes,
          weights,
          k * dimensions,
        );
        proposed.points[k] = point;
        for (let i = 0; i < dimensions; i++) {
          const at = k * dimensions + i;
          const value = scale * grid[point * dimensions + i]!;
          values[at] = (signs >> at) & 1 ? -value : value;
        }
      }
    },
    accept(unit) {
      chosen.points.set(proposed.points, unit * perUnit);
      chosen.signs[unit] = proposed.signs;
    },
    finish: put,
  };
}

/** The point p with the least Σ weight · (scale · p − x)², over `dimensions` values from `from` on. */
function nearestPoint(
  grid: Float32Array,
  points: number,
  dimensions: number,
  scale: number,
  x: Float64Array,
  weights: Float64Array,
  from: number,
): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let point = 0; point < points; point++) {
    let cost = 0;
    for (let i = 0; i < dimensions && cost < least; i++) {
      const difference = scale * grid[point * dimensions + i]! - x[from + i]!;
      cost += weights[from + i]! * difference * difference;
    }
    if (cost >= least) continue;
    least = cost;
    best = point;
  }
  return best;
}
