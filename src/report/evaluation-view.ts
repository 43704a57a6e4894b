/**
 * What an evaluation shows, as plain data: the form of the results of `evaluateModel`, as far as the page needs them. Nothing here
 * knows a file format.
 */

import type { ModelCost } from '../verify/evaluate/cost-messages.ts';
import type { DataQuality } from '../verify/evaluate/on-data.ts';

export interface FiguresView {
  readonly file: string;
  readonly bytes: number;
  readonly bitsPerWeight: number;
  readonly cost?: ModelCost | undefined;
}

export interface LayerView {
  readonly weight: string;
  readonly form: string;
  readonly count: number;
  readonly weightSqnr: number;
  readonly activation?:
    | { readonly tensor: string; readonly sqnr: number; readonly cosine: number }
    | undefined;
  readonly harm?:
    | {
        readonly klDivergence?: number | undefined;
        readonly agreement?: number | undefined;
        readonly sqnr: number;
      }
    | undefined;
  readonly keepBytes: number;
}

export interface DistributionView {
  readonly weight: string;
  readonly low: number;
  readonly high: number;
  readonly before: readonly number[];
  readonly after: readonly number[];
}

export interface EvaluationView {
  readonly model: FiguresView;
  readonly against?: FiguresView | undefined;
  readonly data: { readonly description: string; readonly synthetic: boolean };
  readonly quality: DataQuality;
  readonly layers?:
    | {
        readonly layers: readonly LayerView[];
        readonly samples: number;
        readonly distributions: readonly DistributionView[];
      }
    | undefined;
  readonly notes: readonly string[];
  readonly seconds: number;
}

/** Size and divergence where the `kept` worst layers keep their original weights. */
export interface KeepStep {
  readonly kept: number;
  readonly bytes: number;
  /** Estimate: what the layers that are left do alone, added up, scaled to what the whole result does. */
  readonly klDivergence: number;
}

/** From nothing kept to all; empty where layers were not tried or give no divergence. */
export function keepSteps({ model, quality, layers }: EvaluationView): KeepStep[] {
  const whole = quality.scores?.distance?.klDivergence;
  const tried = layers?.layers.filter(({ harm }) => harm?.klDivergence !== undefined) ?? [];
  const harms = tried.map(({ harm }) => harm?.klDivergence ?? 0);
  const sum = harms.reduce((total, harm) => total + harm, 0);
  if (whole === undefined || !(sum > 0) || !Number.isFinite(sum)) return [];
  let [bytes, left] = [model.bytes, sum];
  const steps: KeepStep[] = [{ kept: 0, bytes, klDivergence: whole }];
  for (const [index, { keepBytes }] of tried.entries()) {
    bytes += keepBytes;
    left -= harms[index] ?? 0;
    steps.push({ kept: index + 1, bytes, klDivergence: (Math.max(0, left) / sum) * whole });
  }
  return steps;
}
