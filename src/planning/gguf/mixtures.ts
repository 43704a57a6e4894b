/**
 * How the weights of a mix deviate from the file type's main type, one row for each file type: more bits where errors
 * show most (values of attention, the down projections of the outer layers), fewer where they do not.
 *
 * A rule looks at the place of a weight (its running number or layer) and at facts of the model, and answers
 * with a type and why, or not at all: then the main type stays. Steps that all file types share stand in types.ts.
 *
 * Source: llama.cpp v0.5.0's decisions, as tables in docs/gguf-types.md; held to them by test/planning/gguf.
 */

import type { GgmlType } from '../../core/ggml-types.ts';
import type { FileTypeName } from './file-types.ts';

/** What rules ask of a model. */
export interface ModelFacts {
  readonly architecture: string | undefined;
  /** Layers, those for prediction of several tokens included; of the input, also where layers are pruned. */
  readonly layers: number;
  /** Weights that carry attention's values. */
  readonly valueWeights: number;
  /** Experts of a layer; 0 for a dense model. */
  readonly experts: number;
  /** Query heads that share a key/value head in layer 0; 0 where there are no such heads. */
  readonly headsPerGroup: number;
  /** Counts as a "70B" model, whose attn_v are an eighth of attn_q. */
  readonly seventyBillion: boolean;
  readonly hasImportance: boolean;
  /** No `output.weight`: the embeddings serve as output. */
  readonly tied: boolean;
}

export interface Choice {
  readonly type: GgmlType;
  /** Plain words: the end of "q6_K: …". */
  readonly why: string;
}

/** `index`: running number (values) or layer; `of`: how many there are. */
export type Rule = (index: number, of: number, facts: ModelFacts) => Choice | undefined;

export interface Mixture {
  /** Values of attention. */
  readonly values?: Rule;
  readonly keysAndQueries?: Rule;
  /** The output projection of attention, of a model that has not eight experts. */
  readonly attentionOutput?: Rule;
  /** The same for Falcon, where it differs from the main type. */
  readonly attentionOutputOfFalcon?: Rule;
  /** With eight experts the output projection of attention gets q5_K. */
  readonly betterWithEightExperts?: boolean;
  readonly down?: Rule;
  readonly downOfFalcon?: Rule;
  readonly gateAndUp?: Rule;
  /** Embeddings that are not the output too. */
  readonly embedding?: Choice;
  /** Output, or embeddings that serve as output; q6_K where nothing is said. */
  readonly output?: GgmlType;
  /** Types of about two bits and below have steps of their own (types.ts). */
  readonly veryLow?: 'one bit' | 'two bits' | 'two bits, better';
  /** Experts get the main type and everything else this one. */
  readonly besidesExperts?: GgmlType;
  /** For rows that the main type's blocks do not divide, where the common table has nothing. */
  readonly fallback?: GgmlType;
}

/** Floor of layers/8: the first eighth. */
export const eighth = (layers: number): number => Math.floor(layers / 8);

/** The first eighth, the last eighth and every third layer between: where llama.cpp spends more bits. */
export function deservesMoreBits(index: number, of: number): boolean {
  const first = eighth(of);
  return index < first || index >= Math.floor((7 * of) / 8) || (index - first) % 3 === 2;
}

const always =
  (type: GgmlType, why: string): Rule =>
  () => ({ type, why });

/** q4_K and the like where several query heads share the weight: it is small then, and matters more. */
const shared =
  (type: GgmlType, otherwise?: Rule): Rule =>
  (index, of, facts) =>
    facts.headsPerGroup >= 4
      ? { type, why: `attention values shared by ${facts.headsPerGroup} heads` }
      : otherwise?.(index, of, facts);

const outer =
  (type: GgmlType, what: string): Rule =>
  (index, of) =>
    deservesMoreBits(index, of)
      ? { type, why: `${what} in the outer layers and every third between` }
      : undefined;

const first =
  (limit: (of: number) => number, type: GgmlType, why: string): Rule =>
  (index, of) =>
    index < limit(of) ? { type, why } : undefined;

const firstEighth = (type: GgmlType): Rule =>
  first(eighth, type, 'down projection in the first eighth of the layers');

const whenUnguided =
  (rule: Rule): Rule =>
  (index, of, facts) =>
    facts.hasImportance ? undefined : rule(index, of, facts);

const whenGuided =
  (rule: Rule): Rule =>
  (index, of, facts) =>
    facts.hasImportance ? rule(index, of, facts) : undefined;

/** The first rule that answers. */
const either =
  (...rules: readonly Rule[]): Rule =>
  (index, of, facts) => {
    for (const rule of rules) {
      const choice = rule(index, of, facts);
      if (choice !== undefined) return choice;
    }
    return undefined;
  };

const sixteenth = (of: number): number => Math.floor(of / 16);

const VALUES = 'attention values';
const DOWN = 'down projection';
const ATTENTION_OUTPUT = 'output projection of attention';

const SMALL_EMBEDDING: Choice = { type: 'q4_K', why: 'embeddings do not stand fewer bits' };
const LOW_EMBEDDING: Choice = { type: 'iq3_s', why: 'embeddings do not stand fewer bits' };
const LOWEST_EMBEDDING: Choice = { type: 'q2_K', why: 'embeddings do not stand fewer bits' };

const curved: Mixture = {
  values: shared('q5_K'),
  betterWithEightExperts: true,
  down: whenUnguided(firstEighth('q5_K')),
};

/** File types without a row: the main type everywhere but in the shared steps. */
const MIXTURES: Partial<Record<FileTypeName, Mixture>> = {
  Q2_K: {
    values: shared('q4_K', always('q3_K', VALUES)),
    attentionOutput: always('q3_K', ATTENTION_OUTPUT),
    betterWithEightExperts: true,
    down: always('q3_K', DOWN),
  },
  Q2_K_S: {
    values: shared('q4_K'),
    down: firstEighth('q4_K'),
  },
  Q3_K_S: { betterWithEightExperts: true },
  Q3_K_M: {
    values: either(
      first(() => 2, 'q5_K', 'attention values of the first two layers'),
      always('q4_K', VALUES),
    ),
    attentionOutput: always('q4_K', ATTENTION_OUTPUT),
    betterWithEightExperts: true,
    down: either(
      first(sixteenth, 'q5_K', 'down projection in the first sixteenth of the layers'),
      always('q4_K', DOWN),
    ),
    downOfFalcon: either(
      first(sixteenth, 'q5_K', 'down projection in the first sixteenth of the layers'),
      outer('q4_K', DOWN),
      always('q3_K', DOWN),
    ),
  },
  Q3_K_L: {
    values: always('q5_K', VALUES),
    attentionOutput: always('q5_K', ATTENTION_OUTPUT),
    attentionOutputOfFalcon: always('q4_K', ATTENTION_OUTPUT),
    down: always('q5_K', DOWN),
    downOfFalcon: always('q4_K', DOWN),
  },
  Q4_0: { down: whenGuided(firstEighth('q4_1')) },
  Q5_0: { down: whenGuided(firstEighth('q5_1')) },
  Q4_K_S: {
    values: first(() => 4, 'q5_K', 'attention values of the first four layers'),
    betterWithEightExperts: true,
    down: firstEighth('q5_K'),
    downOfFalcon: () => undefined,
  },
  Q4_K_M: {
    values: outer('q6_K', VALUES),
    betterWithEightExperts: true,
    down: outer('q6_K', DOWN),
    downOfFalcon: either(
      first(sixteenth, 'q6_K', 'down projection in the first sixteenth of the layers'),
      outer('q5_K', DOWN),
      always('q4_K', DOWN),
    ),
  },
  Q5_K_M: { values: outer('q6_K', VALUES), down: outer('q6_K', DOWN) },
  IQ4_NL: curved,
  IQ4_XS: curved,
  IQ3_S: { values: shared('q4_K'), betterWithEightExperts: true },
  IQ3_M: {
    values: always('q4_K', VALUES),
    attentionOutput: always('q4_K', ATTENTION_OUTPUT),
    betterWithEightExperts: true,
    down: either(firstEighth('q4_K'), (index, of, facts) =>
      facts.experts === 8 ? outer('q4_K', DOWN)(index, of, facts) : undefined,
    ),
  },
  IQ3_XS: {
    values: shared('q4_K'),
    keysAndQueries: always('iq3_xxs', 'attention keys and queries stand fewer bits'),
    betterWithEightExperts: true,
    gateAndUp: (index, of) =>
      index >= eighth(of) && index < Math.floor((7 * of) / 8)
        ? { type: 'iq3_xxs', why: 'the inner layers stand fewer bits' }
        : undefined,
  },
  IQ3_XXS: {
    values: shared('q4_K', (_, __, facts) =>
      facts.hasImportance ? { type: 'iq3_xxs', why: VALUES } : { type: 'iq3_s', why: VALUES },
    ),
    keysAndQueries: always('iq2_s', 'attention keys and queries stand fewer bits'),
    attentionOutput: always('iq3_s', ATTENTION_OUTPUT),
    betterWithEightExperts: true,
    down: whenUnguided(either(firstEighth('q4_K'), always('q3_K', DOWN))),
    embedding: LOW_EMBEDDING,
    output: 'q5_K',
  },
  IQ2_M: { veryLow: 'two bits, better', embedding: LOW_EMBEDDING, output: 'q5_K' },
  IQ2_S: { veryLow: 'two bits, better', embedding: LOW_EMBEDDING, output: 'q5_K' },
  IQ2_XS: { veryLow: 'two bits', embedding: LOWEST_EMBEDDING, output: 'q5_K' },
  IQ2_XXS: { veryLow: 'two bits', embedding: LOWEST_EMBEDDING, output: 'q5_K' },
  IQ1_M: { veryLow: 'one bit', embedding: LOWEST_EMBEDDING, output: 'q5_K' },
  IQ1_S: { veryLow: 'one bit', embedding: LOWEST_EMBEDDING, output: 'q5_K' },
  TQ1_0: { embedding: SMALL_EMBEDDING },
  TQ2_0: { embedding: SMALL_EMBEDDING },
  Q2_0: { embedding: SMALL_EMBEDDING },
  MXFP4_MOE: { besidesExperts: 'q8_0' },
  NVFP4: { fallback: 'iq4_nl' },
};

export function mixtureOf(name: FileTypeName): Mixture {
  return MIXTURES[name] ?? {};
}
