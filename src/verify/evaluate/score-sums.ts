/**
 * What the scores of a model are worth, added up row by row over any number of samples:
 *
 *   accuracy      share of labels that rank first              cross entropy  mean −ln p(target), nats
 *   perplexity    exp(mean −ln p(next token)), every position of a window that has a successor
 *   KL divergence mean Σ p·(ln p − ln q) of the result q from the original p, nats per row
 *   agreement     share of rows where both rank the same first
 *
 * (S. Kullback, R. A. Leibler, On Information and Sufficiency, 1951.) Sums are f64. This perplexity scores all positions but
 * the first of each window, as papers on quantization do; llama.cpp's rule (verify/perplexity.ts) scores second halves.
 */

import { WhittleError } from '../../errors.ts';
import { quantile } from '../perplexity.ts';
import { logProbabilities, type ScoreKind, type ScoreRows, SKIPPED } from './score-rows.ts';

/** How well a model does the task by itself. */
export interface TaskQuality {
  /** Rows with a label or a next token. */
  readonly scored: number;
  /** Share of labels that rank first; absent without labels. */
  readonly accuracy?: number | undefined;
  /** Absent where the output is no distribution over next tokens. */
  readonly perplexity?: number | undefined;
  /** Mean −ln p of what is right, nats. */
  readonly crossEntropy: number;
  /** Standard error of the cross entropy. */
  readonly crossEntropyError: number;
}

/** How far the scores of a result are from the original's. */
export interface ScoreDistance {
  readonly rows: number;
  /** Kullback-Leibler divergence of the result from the original, nats per row. */
  readonly klDivergence: number;
  /** Standard error of its mean. */
  readonly klError: number;
  readonly klMedian: number;
  readonly kl99: number;
  readonly klMax: number;
  /** Share of rows where both rank the same first. */
  readonly agreement: number;
}

export interface ScoreResult {
  readonly kind: ScoreKind;
  readonly original: TaskQuality | undefined;
  readonly result: TaskQuality | undefined;
  readonly distance: ScoreDistance | undefined;
  readonly notes: readonly string[];
}

export interface ScoreSums {
  /** @param original absent where a model is measured by itself */
  add(rows: ScoreRows, result: Float64Array, original?: Float64Array | undefined): void;
  result(): ScoreResult;
}

export function createScoreSums(kind: ScoreKind): ScoreSums {
  const own = new TaskSums();
  const other = new TaskSums();
  const divergences: number[] = [];
  let agreeing = 0;
  let sum = 0;
  let squares = 0;
  let task: ScoreRows['task'];
  return {
    add(rows, result, original) {
      const { count, width, targets } = rows;
      task = rows.task ?? task;
      const q = new Float64Array(width);
      const p = new Float64Array(width);
      for (let row = 0; row < count; row++) {
        const target = targets[row]!;
        if (target === SKIPPED) continue;
        const top = logProbabilities(result, row * width, q, kind);
        own.add(q, top, target, row > 0 ? targets[row - 1]! : SKIPPED);
        if (original === undefined) continue;
        const first = logProbabilities(original, row * width, p, kind);
        other.add(p, first, target, row > 0 ? targets[row - 1]! : SKIPPED);
        const divergence = klDivergence(p, q);
        divergences.push(divergence);
        sum += divergence;
        squares += divergence * divergence;
        if (top === first) agreeing++;
      }
    },
    result() {
      const rows = divergences.length;
      const notes: string[] = [];
      const masked = task === 'next-token' && (rows > 0 ? other : own).repeats();
      if (masked) {
        notes.push(
          'No perplexity: at most places the model ranks the token first that stands there (a masked language model).',
        );
      }
      const quality = (sums: TaskSums): TaskQuality | undefined => (masked ? undefined : sums.result(task));
      const mean = sum / rows;
      const variance = Math.max(0, squares / rows - mean * mean);
      const sorted = Float64Array.from(divergences).sort();
      return {
        kind,
        original: rows === 0 ? undefined : quality(other),
        result: quality(own),
        distance:
          rows === 0
            ? undefined
            : {
                rows,
                klDivergence: mean,
                klError: rows > 1 ? Math.sqrt(variance / (rows - 1)) : 0,
                klMedian: quantile(sorted, 0.5),
                kl99: quantile(sorted, 0.99),
                klMax: sorted.at(-1) ?? 0,
                agreement: agreeing / rows,
              },
        notes,
      };
    },
  };
}

/** Σ p·(ln p − ln q), with 0·ln 0 = 0; ∞ where the result excludes what the original does not. Both are logarithms. */
export function klDivergence(p: Float64Array, q: Float64Array): number {
  if (p.length !== q.length) {
    throw new WhittleError('E_SHAPE', 'two distributions have different numbers of classes', {
      expected: String(p.length),
      found: String(q.length),
    });
  }
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const logP = p[i]!;
    if (logP > Number.NEGATIVE_INFINITY) sum += Math.exp(logP) * (logP - q[i]!);
  }
  // Rounding leaves −1e−17 where nothing differs.
  return Math.max(0, sum);
}

class TaskSums {
  #scored = 0;
  #correct = 0;
  #loss = 0;
  #squares = 0;
  #repeating = 0;

  /** @param before The target of the row before: for text, the token that stands in this row. */
  add(logs: Float64Array, top: number, target: number, before: number): void {
    if (target < 0) return;
    const loss = -logs[target]!;
    this.#scored++;
    this.#loss += loss;
    this.#squares += loss * loss;
    if (top === target) this.#correct++;
    if (top === before) this.#repeating++;
  }

  /** Whether rows rank first what stands in their place rather than what comes next. */
  repeats(): boolean {
    return this.#repeating > this.#scored / 2 && this.#repeating > this.#correct;
  }

  result(task: ScoreRows['task']): TaskQuality | undefined {
    const scored = this.#scored;
    if (scored === 0 || task === undefined) return undefined;
    const mean = this.#loss / scored;
    const variance = Math.max(0, this.#squares / scored - mean * mean);
    return {
      scored,
      ...(task === 'labels' ? { accuracy: this.#correct / scored } : { perplexity: Math.exp(mean) }),
      crossEntropy: mean,
      crossEntropyError: scored > 1 ? Math.sqrt(variance / (scored - 1)) : 0,
    };
  }
}
