/**
 * Inner values of two models on the same inputs, value by value in the order in which they are computed: where between input and
 * output two models part. Errors add up on the way, so that a value late in a network carries those of all before it.
 */

import type { Dataset } from '../calibration/data/dataset.ts';
import type { RunOptions } from '../core/progress.ts';
import { WhittleError } from '../errors.ts';
import type { OnnxModel } from '../formats/onnx/model.ts';
import type { Runtime } from '../runtime/runtime.ts';
import { compareActivations } from '../verify/evaluate/activations.ts';
import { openModelData } from './calibration-data.ts';
import type { CalibrationData } from './options.ts';
import { pairTensors } from './tensor-pairs.ts';

export interface ActivationSettings {
  /** What both are run on: prepared samples, or where they are (8 of them, unless it says otherwise). Default: made-up inputs. */
  readonly data?: Dataset | CalibrationData | undefined;
}

export interface ActivationComparison {
  /** Name in a. */
  readonly name: string;
  /** Name in b, where it is another. */
  readonly nameB?: string | undefined;
  /** Operator that computes it in a. */
  readonly opType: string;
  /** Weight of a that it is a product with. */
  readonly weight?: string | undefined;
  readonly isOutput: boolean;
  /** dB; Infinity where nothing differs, −Infinity where only one side is finite somewhere. */
  readonly sqnr: number;
  readonly cosine: number;
  readonly maxAbs: number;
}

export interface ActivationReport {
  /** In the order in which a computes them. */
  readonly compared: readonly ActivationComparison[];
  /** Values that both have and that differ in size. */
  readonly differentSize: readonly string[];
  readonly samples: number;
  readonly data: { readonly description: string; readonly synthetic: boolean };
  readonly notes: readonly string[];
}

export interface ActivationRunOptions extends RunOptions {
  readonly runtime: Runtime;
  readonly threads?: number | undefined;
  /** Shapes of made-up inputs. */
  readonly shapes?: Readonly<Record<string, readonly number[]>> | undefined;
}

const SAMPLES = 8;

/**
 * @throws WhittleError E_USAGE where the models have no value in common, and what opening data and `compareActivations` throw
 */
export async function compareInside(
  a: OnnxModel,
  b: OnnxModel,
  settings: ActivationSettings,
  options: ActivationRunOptions,
): Promise<ActivationReport> {
  const { runtime, threads, signal, shapes } = options;
  const pairs = pairTensors(a, b);
  if (pairs.length === 0) {
    throw new WhittleError('E_USAGE', 'the two models compute no value in common', {
      file: b.file,
      expected: 'values, nodes or weights of the same names',
      hint: 'Compare a model with the one that it was made from.',
    });
  }
  const { data = { source: { kind: 'synthetic' }, shapes } } = settings;
  const few = 'source' in data && data.samples === undefined ? { ...data, samples: SAMPLES } : data;
  const dataset = await openModelData(a, few, { runtime, signal, threads });
  const { compared, samples } = await compareActivations(
    { proto: a.proto, resolve: a.tensorBytes },
    { proto: b.proto, resolve: b.tensorBytes },
    pairs,
    dataset,
    options,
  );
  return {
    compared: pairs.flatMap(({ a: name, b: nameB, opType, weight, isOutput }) => {
      const found = compared.get(name);
      if (found === undefined) return [];
      const { sqnr, cosine, maxAbs } = found;
      const other = nameB === name ? {} : { nameB };
      return [{ name, ...other, opType, ...(weight && { weight }), isOutput, sqnr, cosine, maxAbs }];
    }),
    differentSize: pairs.flatMap(({ a: name }) => (compared.has(name) ? [] : [name])),
    samples,
    data: { description: dataset.description, synthetic: dataset.synthetic },
    notes: dataset.notes,
  };
}
