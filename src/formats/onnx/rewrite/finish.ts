/**
 * The end of a rewrite: edits are applied, nodes that only dressed weights for operators that are gone are
 * removed, unused initializers and inputs with them, and the model declares the domains and versions it now needs.
 */

import { allGraphs, namesUsedBy } from '../graph.ts';
import type { NodeProto } from '../messages.ts';
import { pruneUnused, type Weight } from '../model.ts';
import { requireIr, requireOpset } from '../model-versions.ts';
import type { RewriteContext } from './context.ts';

/** `chains`: nodes between replaced uses and their weights; `replaced`: weights of which no use may be left. */
export function finishRewrite(
  context: RewriteContext,
  chains: ReadonlySet<NodeProto>,
  replaced: readonly Weight[],
): void {
  const { proto } = context;
  context.finish();
  removeDead(context, chains);
  dropInputs(replaced);
  pruneUnused(proto);
  for (const domain of context.domains) requireOpset(proto, domain, 1);
  requireIr(proto, context.neededIr());
}

/** Removes those of `candidates` whose outputs nothing reads, from the last to the first so that chains go whole. */
function removeDead({ proto }: RewriteContext, candidates: ReadonlySet<NodeProto>): void {
  if (candidates.size === 0) return;
  for (const { graph } of allGraphs(proto)) {
    if (!graph.node.some((node) => candidates.has(node))) continue;
    const used = new Set<string>(graph.output.map((output) => output.name ?? ''));
    const kept: NodeProto[] = [];
    for (const node of graph.node.toReversed()) {
      if (candidates.has(node) && node.output.every((name) => name === '' || !used.has(name))) continue;
      for (const name of namesUsedBy(node)) used.add(name);
      kept.push(node);
    }
    graph.node = kept.reverse();
  }
}

/**
 * A replaced weight that was also an input (IR 3 demanded it, some exporters still write it) would become an input
 * without a default: the input goes with the weight.
 */
function dropInputs(replaced: readonly Weight[]): void {
  for (const { graph, name, isGraphInput } of replaced) {
    if (isGraphInput) graph.input = graph.input.filter((input) => input.name !== name);
  }
}
