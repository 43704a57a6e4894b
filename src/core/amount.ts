/**
 * Numbers with their noun, for notes and errors: 1 layer, 2 layers. No separators, so that messages can be searched for a number.
 */

/** @param one - what follows the number 1: `layer`, or `layer was` with `layers were` as `many` */
export function amount(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
