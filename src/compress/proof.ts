/**
 * Proves the results of one model file in a runtime: the original runs once, every result on the same inputs. Happens
 * before the results appear, so a result that the runtime refuses is never seen.
 */

import { freemem } from 'node:os';
import { graphHints, NO_HINTS } from '../calibration/data/graph-hints.ts';
import { WhittleError } from '../errors.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import { hasOnnxruntimeNode, onnxruntimeNode } from '../runtime/onnxruntime-node.ts';
import { onnxruntimeWeb } from '../runtime/onnxruntime-web.ts';
import {
  type Proof,
  type ProofOptions,
  proveAgainst,
  type Reference,
  runReference,
} from '../verify/prove.ts';
import type { CompressOptions, Verification, VerifyOptions } from './options.ts';

export interface Prover {
  /** Empty where nothing is proved. `results`: mode and path of the model file. */
  prove(results: readonly { readonly mode: string; readonly path: string }[]): Promise<void>;
  /** By mode, after `prove`. */
  readonly proofs: ReadonlyMap<string, Verification>;
  /** Why something was not proved. */
  readonly notes: readonly string[];
}

/** A loaded model takes about this many times its bytes. */
const MEMORY_FACTOR = 2;

/** Undefined where the proof is left out on request; with a note where it cannot be done and was not insisted on. */
export async function createProver(
  model: OnnxModel,
  bytes: number,
  options: CompressOptions,
): Promise<Prover | undefined> {
  const { verify } = options;
  if (verify === false) return undefined;
  const insists = verify !== undefined;
  const wanted: VerifyOptions = typeof verify === 'object' ? verify : {};
  const notes: string[] = [];
  const proofs = new Map<string, Verification>();
  const prover = (prove: Prover['prove']): Prover => ({ prove, proofs, notes });
  const skip = (note: string): Prover => {
    notes.push(note);
    return prover(async () => {});
  };
  if (!insists) {
    if (!(await hasOnnxruntimeNode())) {
      return skip(
        'Not proved in a runtime: onnxruntime-node is not installed (npm install onnxruntime-node).',
      );
    }
    if (bytes * MEMORY_FACTOR > freemem()) {
      return skip('Not proved in a runtime: the model needs more memory than is free (--verify insists).');
    }
  }
  const runtime = wanted.runtime === 'onnxruntime-web' ? onnxruntimeWeb() : onnxruntimeNode();
  const proofOptions: ProofOptions = {
    runtime,
    signal: options.signal,
    threads: options.threads,
    runs: wanted.runs,
    shapes: wanted.shapes,
    inputs: wanted.inputs,
    hints: model.proto.graph === undefined ? NO_HINTS : graphHints(model.proto.graph),
  };
  let reference: Reference | undefined;
  return prover(async (results) => {
    try {
      reference ??= await runReference(model.file, proofOptions);
    } catch (error) {
      const explains = error instanceof WhittleError && error.code === 'E_RUNTIME';
      if (insists || !explains) throw error;
      notes.push(
        `Not compared with the original: ${error.message} (${error.details.found ?? 'no reason given'}).`,
      );
    }
    for (const { mode, path } of results) {
      options.onProgress?.({ phase: `proving ${mode}`, bytesDone: bytes, bytesTotal: bytes });
      if (options.signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped on request');
      try {
        if (reference === undefined) await loads(path, proofOptions);
        else proofs.set(mode, verification(await proveAgainst(reference, path, proofOptions)));
      } catch (error) {
        throw failure(error, mode, model.file, reference !== undefined);
      }
    }
  });
}

async function loads(path: string, { runtime, threads }: ProofOptions): Promise<void> {
  const session = await runtime.load(path, { threads });
  await session.close();
}

function verification(proof: Proof): Verification {
  return {
    ...proof,
    outputs: proof.outputs.map(({ name, cosine, sqnr, maxAbs }) => ({ name, cosine, sqnr, maxAbs })),
  };
}

function failure(error: unknown, mode: string, file: string, originalRuns: boolean): unknown {
  if (!(error instanceof WhittleError) || error.code === 'E_ABORTED') return error;
  const { found, expected, tensor, cause } = error.details;
  return new WhittleError('E_VERIFICATION', `the ${mode} result did not pass the proof: ${error.message}`, {
    file,
    tensor,
    expected,
    found,
    hint: originalRuns
      ? 'Nothing was written. Leave this mode out, exclude the layers that do not bear it (--exclude), or write it unproved (--no-verify).'
      : 'Nothing was written. The runtime does not run the original either (an operator it lacks?): --no-verify writes the result unproved.',
    cause,
  });
}
