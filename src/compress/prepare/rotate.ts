/**
 * The pass `rotate`: residual streams of transformers are rotated by a seeded Hadamard matrix, which every matrix that writes or reads the
 * stream takes in (algorithms/hadamard.ts, formats/onnx/fold/rotation.ts). Loud channels are spread over all of them.
 */

import { createRotation, hadamardOrder } from '../../algorithms/hadamard.ts';
import { WhittleError } from '../../errors.ts';
import { findResidualStreams } from '../../formats/onnx/fold/rotation.ts';
import { applyRotation, type RotationApplied } from '../../formats/onnx/fold/rotation-apply.ts';
import type { ResidualStream } from '../../formats/onnx/fold/rotation-walk.ts';
import { foldableGraph } from './foldable.ts';
import type { PreparationPass, PreparedPlace } from './pass.ts';

export const rotate: PreparationPass = async ({ model, setting, signal, onProgress }) => {
  const seed = Number(setting ?? 0);
  const graph = foldableGraph(model);
  const { streams, blocked } = await findResidualStreams(graph);
  const places: PreparedPlace[] = [];
  const done: string[] = [];
  const left = blocked.map(({ name, reason }) => `${reason}, at the stream of ${name}`);
  for (const [i, stream] of streams.entries()) {
    if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
    const { name, channels, keepsMean } = stream;
    onProgress?.({ phase: `rotating ${name}`, bytesDone: i, bytesTotal: streams.length });
    if (hadamardOrder(channels) === undefined) {
      left.push(`${channels} channels cannot be mixed, at the stream of ${name}`);
      continue;
    }
    // Each stream has signs of its own, whatever others there are.
    const rotation = createRotation(channels, { seed: seed + i, keepsMean });
    const applied = await applyRotation(graph, stream, (rows) => rotation.apply(rows));
    done.push(describe(stream, applied, rotation.block));
    for (const { name: at, before, after } of applied.tensors) {
      places.push({
        at,
        what: `largest weight ${before.toFixed(1)} times the usual one, ${after.toFixed(1)} after`,
      });
    }
  }
  if (done.length === 0) {
    const [reason] = left;
    const more = left.length > 1 ? ` (and ${left.length - 1} more)` : '';
    const why = reason === undefined ? ': no norm is in the graph' : `: ${reason}${more}`;
    return { summary: `no residual stream can be rotated exactly${why}`, places };
  }
  // Norms inside of layers (of queries and keys) are no residual streams: what stopped them is of no interest then.
  return { summary: done.join('; '), places };
};

function describe(
  { name, channels, keepsMean, matrices, norms }: ResidualStream,
  { copies, additions }: RotationApplied,
  block: number,
): string {
  const writers = matrices.filter(({ writes }) => writes).length;
  const readers = matrices.filter(({ reads }) => reads !== undefined).length;
  const how = block === channels ? '' : ` in blocks of ${block}`;
  const mean = keepsMean ? ', keeping the mean' : '';
  const bytes = copies.reduce((sum, copy) => sum + copy.bytes, 0);
  const parts = [
    `the stream at ${name}, ${channels} channels${how}${mean}: ${writers} writers, ${readers} readers, ${norms.length} norms`,
  ];
  if (copies.length > 0) {
    const names = copies.map((copy) => copy.name).join(', ');
    parts.push(`${names} is read in two ways and stands in the file twice, ${bytes} bytes more`);
  }
  if (additions > 0) parts.push(`${additions} additions take up offsets of norms`);
  return parts.join('; ');
}
