/**
 * Finds residual streams that can be rotated exactly: every value x of the stream becomes x R with an orthogonal R, and nothing
 * else changes ("QuaRot", Ashkboos et al., 2024, section 4; "SliceGPT", the same authors, for the argument).
 *
 *   writers   a product or an embedding whose result is added to the stream: W → W R, b → b R
 *   readers   a product that reads the stream, mostly through a norm: W → Rᵀ diag(γ) W, since x R / rms(x R) = (x / rms(x)) R; the
 *             norm's own scale γ becomes 1, its offset β goes into the reader's bias
 *
 * LayerNormalization subtracts the mean as well, which commutes with rotations that leave the vector of ones as it is. So do
 * additions of one number to all channels. `keepsMean` says that the stream needs such a rotation.
 *
 * A stream is the closure of a norm's input under "is added to": whatever makes or reads one of its values must be one of the above, or
 * move whole rows (Reshape, Transpose, Gather over other axes …). Else the stream stays as it is, and the first node in the way is named.
 */

import type { NodeProto } from '../messages.ts';
import { readersOf } from './batchnorm.ts';
import { constantUses } from './constant-uses.ts';
import { narrowValues } from './narrow.ts';
import {
  type BlockedStream,
  NORMS,
  REDUCTIONS,
  type ResidualStream,
  type RotatableGraph,
  StreamWalk,
  type WalkFacts,
} from './rotation-walk.ts';

/** Nodes of the graph must be in topological order, constants initializers. */
export async function findResidualStreams(
  model: RotatableGraph,
): Promise<{ streams: ResidualStream[]; blocked: BlockedStream[] }> {
  const facts = await gatherFacts(model);
  const streams: ResidualStream[] = [];
  const blocked: BlockedStream[] = [];
  const seen = new Set<string>();
  const reasons = new Set<string>();
  for (const seed of seeds(facts)) {
    if (seen.has(seed)) continue;
    const walk = new StreamWalk(facts);
    const reason = await walk.run(seed);
    for (const name of walk.values.keys()) seen.add(name);
    if (reason === undefined) {
      const stream = walk.result(seed);
      const { matrices } = stream;
      if (matrices.some(({ reads }) => reads !== undefined) && matrices.some(({ writes }) => writes))
        streams.push(stream);
    } else if (!reasons.has(reason)) {
      reasons.add(reason);
      blocked.push({ name: seed, reason });
    }
  }
  return { streams, blocked };
}

async function gatherFacts(model: RotatableGraph): Promise<WalkFacts> {
  const { graph } = model;
  const ints = async (name: string): Promise<number[] | undefined> => {
    const tensor = model.constant(name);
    return tensor?.dataType === 7 || tensor?.dataType === 6 ? await model.readInts(tensor) : undefined;
  };
  const constants = constantUses(graph, model.constant);
  const squares = new Set<NodeProto>();
  for (const node of graph.node) {
    const { opType, input } = node;
    const exponent = opType === 'Pow' ? constants.get(node)?.get(1)?.tensor : undefined;
    const isScalar = exponent?.dims.every((dim) => dim === 1) === true;
    if (isScalar && (await model.read(exponent))[0] === 2) squares.add(node);
    if (opType === 'Mul' && input[0] === input[1]) squares.add(node);
  }
  return {
    model,
    graph,
    squares,
    producers: new Map(graph.node.flatMap((node) => node.output.map((name) => [name, node] as const))),
    readers: readersOf(graph),
    outputs: new Set(graph.output.map(({ name }) => name ?? '')),
    main: new Set(graph.node),
    constants,
    narrow: await narrowValues(model, ints),
    ints,
  };
}

/** Inputs of norms, written as one operator or as several. */
function* seeds({ graph, producers, narrow, squares }: WalkFacts): Generator<string> {
  for (const node of graph.node) {
    const [input = ''] = node.input;
    if (NORMS.has(node.opType ?? '')) yield input;
    if (!REDUCTIONS.has(node.opType ?? '') || !narrow.has(node.output[0] ?? '')) continue;
    const square = producers.get(input);
    if (square === undefined || !squares.has(square)) continue;
    const [base = ''] = square.input;
    const centred = producers.get(base);
    if (centred?.opType === 'Sub' && narrow.has(centred.input[1] ?? '')) yield centred.input[0] ?? '';
    else yield base;
  }
}
