/**
 * Which products share their sums, and what the matrices among these take: H, the cross term and the drift grow with the square of the
 * inputs, all else with the inputs. Who collects for many layers can so divide them by what fits into memory.
 */

import type { Collected, Product } from './products.ts';
import { rowsKey } from './rows.ts';

/** Products with the same key have the same sums; each has a drift of its own. */
export function sumsKey(product: Product, collect: readonly Collected[]): string {
  return hasDrift(product, collect) ? JSON.stringify([rowsKey(product), product.sum]) : rowsKey(product);
}

/** Bytes of the matrices that one run over the data for these products collects. */
export function matrixBytes(products: readonly Product[], collect: readonly Collected[]): number {
  const distinct = new Map(products.map((product) => [sumsKey(product, collect), product]));
  const counts = [...distinct.values()].map((product) => {
    const { inputs, sum } = product;
    const square = inputs * inputs * (product.kind === 'patches' ? product.groups : 1);
    const compared = collect.includes('cross') || collect.includes('drift');
    const other = hasDrift(product, collect) ? (sum?.outputs ?? 0) * inputs : compared ? square : 0;
    return (collect.includes('gram') ? square : 0) + other;
  });
  return counts.reduce((total, count) => total + count * Float32Array.BYTES_PER_ELEMENT, 0);
}

function hasDrift({ sum }: Product, collect: readonly Collected[]): boolean {
  return sum !== undefined && collect.includes('drift');
}
