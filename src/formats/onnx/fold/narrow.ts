/**
 * Values whose last axis has one element, as far as that follows from the graph: sums and means over the last axis that keep it, and
 * what is computed from them element by element. They scale or move all channels of a row alike.
 */

import { isDefaultDomain, readInt, readInts } from '../rewrite/build.ts';
import type { FoldableGraph } from './batchnorm.ts';

const REDUCTIONS: ReadonlySet<string> = new Set([
  'ReduceL2',
  'ReduceMax',
  'ReduceMean',
  'ReduceMin',
  'ReduceSum',
  'ReduceSumSquare',
]);

const ELEMENTWISE: ReadonlySet<string> = new Set([
  ...['Abs', 'Add', 'Cast', 'Clip', 'Div', 'Exp', 'Identity', 'Log', 'Max', 'Min'],
  ...['Mul', 'Neg', 'Pow', 'Reciprocal', 'Sigmoid', 'Sqrt', 'Sub'],
]);

/**
 * Nodes must be in topological order.
 * @param ints Values of an integer constant; undefined where it is none.
 */
export async function narrowValues(
  { graph, constant, rankOf }: FoldableGraph,
  ints: (name: string) => Promise<number[] | undefined>,
): Promise<Set<string>> {
  const narrow = new Set<string>();
  const isNarrow = (name: string): boolean =>
    name === '' || narrow.has(name) || constant(name)?.dims.every((dim) => dim === 1) === true;
  for (const node of graph.node) {
    if (!isDefaultDomain(node)) continue;
    const { opType = '', input } = node;
    const [output = ''] = node.output;
    if (REDUCTIONS.has(opType)) {
      if (readInt(node, 'keepdims', 1) === 0) continue;
      const axes = readInts(node, 'axes') ?? (await ints(input[1] ?? ''));
      const rank = rankOf(input[0] ?? '');
      if (axes?.some((axis) => axis === -1 || (rank !== undefined && axis === rank - 1)) === true)
        narrow.add(output);
    } else if (ELEMENTWISE.has(opType) && input.some((name) => narrow.has(name)) && input.every(isNarrow)) {
      narrow.add(output);
    }
  }
  return narrow;
}
