/** Shapes: row-major dimensions of a tensor. A scalar has the empty shape and one element. */

export type Shape = readonly number[];

/** Number of elements; `undefined` where the product is not a safe integer (a hostile header). */
export function elementCount(shape: Shape): number | undefined {
  let count = 1;
  for (const dim of shape) {
    if (dim === 0) return 0;
    count *= dim;
  }
  return Number.isSafeInteger(count) ? count : undefined;
}

export function formatShape(shape: Shape): string {
  return shape.length === 0 ? 'scalar' : shape.join('×');
}
