/**
 * Brings the input of a product into a matrix inside the graph: [rows, inputs] for MatMul and Gemm, and with the inputs first
 * for Gemm with transA and for Conv, [inputs, rows], or [groups, inputs, rows] where it is grouped. Neither moves elements.
 *
 * Patches (im2col) are made by a depthwise Conv whose filters are the unit vectors of the kernel's positions: its outputs are
 * channel-major, then kernel positions, as a stored filter reads, and strides, dilations and every kind of padding are the
 * runtime's own. 1·x + 0·… is exact. It costs inputs/channels multiplications a value, 1/channels of what XᵀX costs.
 */

import { intAttribute, intsAttribute } from '../../formats/onnx/rewrite/build.ts';
import { type TapGraph, textAttribute } from '../../formats/onnx/taps/tap-graph.ts';
import type { Product } from './products.ts';

export interface Rows {
  readonly name: string;
  /** 'first': [rows, inputs]; 'last': [inputs, rows], or [groups, inputs, rows] with more than one group. */
  readonly axis: 'first' | 'last';
  /** Length of x; of one group. */
  readonly inputs: number;
  readonly groups: number;
}

/** Products with the same key have the same rows. */
export function rowsKey({ weight: _, sum: __, ...where }: Product): string {
  return JSON.stringify(where);
}

/** @param input Name of the product's input in the graph that is built. */
export function addRows(taps: TapGraph, product: Product, input = product.input): Rows {
  const x = taps.asFloat(input);
  switch (product.kind) {
    case 'rows':
      return {
        name: taps.reshape(x, [-1, product.inputs]),
        axis: 'first',
        inputs: product.inputs,
        groups: 1,
      };
    case 'columns':
      return { name: taps.reshape(x, [product.inputs, -1]), axis: 'last', inputs: product.inputs, groups: 1 };
    case 'patches':
      return addPatches(taps, product, x);
    default:
      return product satisfies never;
  }
}

type Patches = Extract<Product, { kind: 'patches' }>;

function addPatches(taps: TapGraph, product: Patches, x: string): Rows {
  const { inputs, groups } = product;
  const patches = isPointwise(product) ? x : unfold(taps, product, x);
  if (groups === 1) {
    const flat = taps.reshape(patches, [0, inputs, -1]);
    const name = taps.reshape(taps.transpose(flat, [1, 0, 2]), [inputs, -1]);
    return { name, axis: 'last', inputs, groups };
  }
  const flat = taps.reshape(patches, [0, groups, inputs, -1]);
  const name = taps.reshape(taps.transpose(flat, [1, 2, 0, 3]), [groups, inputs, -1]);
  return { name, axis: 'last', inputs, groups };
}

function isPointwise({ kernel, strides, pads }: Patches): boolean {
  return [...kernel, ...strides].every((size) => size === 1) && pads.every((pad) => pad === 0);
}

function unfold(taps: TapGraph, product: Patches, x: string): string {
  const { kernel, strides, dilations, pads, groups, inputs, autoPad } = product;
  const positions = kernel.reduce((count, size) => count * size, 1);
  const channels = (groups * inputs) / positions;
  const filters = new Float32Array(channels * positions * positions);
  for (let i = 0; i < channels * positions; i++) filters[i * positions + (i % positions)] = 1;
  return taps.node(
    'Conv',
    [x, taps.floats([channels * positions, 1, ...kernel], filters)],
    [
      intAttribute('group', channels),
      intsAttribute('kernel_shape', kernel),
      intsAttribute('strides', strides),
      intsAttribute('dilations', dilations),
      autoPad === undefined ? intsAttribute('pads', pads) : textAttribute('auto_pad', autoPad),
    ],
  );
}
