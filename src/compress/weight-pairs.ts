/**
 * Which weights of two models are the same: by the name that each had as a float, whatever form it is stored in now, in a
 * shape that holds the same elements.
 */

import type { Shape } from '../core/shape.ts';
import { type NamedWeight, orientedOperation } from './stored-values.ts';

/** The same weight in two models. */
export interface WeightPair {
  readonly a: NamedWeight;
  readonly b: NamedWeight;
}

/** Pairs by full name, then by the name without a quantizer's suffix, then by bare name where it is unique. */
export function pairWeights(
  all: readonly NamedWeight[],
  others: readonly NamedWeight[],
): { pairs: WeightPair[]; onlyInA: string[]; onlyInB: string[] } {
  const pairs: WeightPair[] = [];
  const pairedA = new Set<NamedWeight>();
  const pairedB = new Set<NamedWeight>();
  const match = (nameOf: (weight: NamedWeight) => string, unique: boolean): void => {
    const groups = groupBy(
      all.filter((weight) => !unique || !pairedA.has(weight)),
      nameOf,
    );
    const counterparts = groupBy(
      others.filter((weight) => !pairedB.has(weight)),
      nameOf,
    );
    for (const [name, found] of counterparts) {
      const group = groups.get(name) ?? [];
      if (unique && (group.length > 1 || found.length > 1)) continue;
      for (const b of found) {
        const fitting = group.filter((a) => sameElements(a, b));
        const a = fitting.find(({ form }) => form === b.form) ?? fitting[0];
        if (a === undefined) continue;
        pairs.push({ a, b });
        pairedA.add(a);
        pairedB.add(b);
      }
    }
  };
  match(({ key }) => key, false);
  match(({ plainKey }) => plainKey, false);
  match(({ name }) => name, true);
  const order = new Map(all.map((weight, index) => [weight, index]));
  pairs.sort((x, y) => (order.get(x.a) ?? 0) - (order.get(y.a) ?? 0));
  return {
    pairs,
    onlyInA: unpaired(all, pairedA),
    onlyInB: unpaired(others, pairedB),
  };
}

/** Single numbers are settings of operators, which come and go with the opset (Clip, Pad), and no weights. */
function unpaired(weights: readonly NamedWeight[], paired: ReadonlySet<NamedWeight>): string[] {
  return weights.filter((weight) => weight.count > 1 && !paired.has(weight)).map(({ key }) => key);
}

function groupBy(
  weights: readonly NamedWeight[],
  nameOf: (weight: NamedWeight) => string,
): Map<string, NamedWeight[]> {
  const groups = new Map<string, NamedWeight[]>();
  for (const weight of weights) {
    const name = nameOf(weight);
    groups.set(name, [...(groups.get(name) ?? []), weight]);
  }
  return groups;
}

/** Shapes that hold the same elements in a layout that one side can be read in. */
function sameElements(a: NamedWeight, b: NamedWeight): boolean {
  if (a.count !== b.count) return false;
  if (b.content.kind === 'stored' && orientedOperation(b.content.stored, a.shape) !== undefined) return true;
  if (a.content.kind === 'stored' && orientedOperation(a.content.stored, b.shape) !== undefined) return true;
  const core = (dims: Shape): string => dims.filter((dim) => dim !== 1).join();
  return core(a.shape) === core(b.shape);
}
