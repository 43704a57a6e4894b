/**
 * Which type each weight of a file gets: llama.cpp's decision, tensor by tensor, in the order of the output. The order matters:
 * some rules count how many weights of a kind they have seen, and a weight whose type the user names does not count.
 *
 * The steps: kept → type named for embeddings or output → unmixed targets (f32, f16, bf16) → first matching pattern → mixture →
 * a smaller block where rows are not divisible. An architecture is asked for only by name, so unknown ones work.
 *
 * Source: llama.cpp v0.5.0's behaviour; docs/gguf-types.md has the rules as tables.
 */

import { GGML_TYPES, type GgmlType, isBlockType } from '../../core/ggml-types.ts';
import { WhittleError } from '../../errors.ts';
import {
  type Category,
  categoryOf,
  isEmbedding,
  isOutput,
  isPerLayerEmbedding,
  isValueLike,
  keptBecause,
} from './categories.ts';
import { COPY, type FileType } from './file-types.ts';
import { type Choice, eighth, type Mixture, type ModelFacts, mixtureOf, type Rule } from './mixtures.ts';
import type { NamePattern } from './pattern.ts';

/** A weight as the rules see it, under its output name. */
export interface Candidate {
  readonly name: string;
  readonly type: GgmlType;
  /** Fastest dimension first, trailing ones dropped. */
  readonly shape: readonly number[];
}

export interface TypeWishes {
  readonly pure?: boolean | undefined;
  readonly leaveOutputTensor?: boolean | undefined;
  readonly outputTensorType?: GgmlType | undefined;
  readonly tokenEmbeddingType?: GgmlType | undefined;
  readonly patterns?: readonly { readonly pattern: NamePattern; readonly type: GgmlType }[] | undefined;
}

export interface Decision {
  readonly type: GgmlType;
  /** Plain words. */
  readonly reason: string;
  /** Quantizable at all. */
  readonly allowed: boolean;
  /** The type is of no use without an importance matrix. */
  readonly needsImportance: boolean;
  /** The type that the rules wanted, where rows are not divisible by its blocks. */
  readonly wanted?: GgmlType | undefined;
}

/**
 * Types of all weights. `facts` without `valueWeights` and `tied`, which follow from the names. Throws E_UNSUPPORTED where a
 * rule needs what a name does not say, or no type fits a row.
 */
export function decideTypes(
  tensors: readonly Candidate[],
  fileType: FileType | typeof COPY,
  given: Omit<ModelFacts, 'valueWeights' | 'tied'>,
  wishes: TypeWishes = {},
): Decision[] {
  const categories = tensors.map(({ name }) => categoryOf(name));
  const facts: ModelFacts = {
    ...given,
    valueWeights: categories.filter(isValueLike).length,
    tied: !categories.includes('output'),
  };
  if (fileType === COPY) return tensors.map(({ type }) => keep(type, 'copied'));
  const mixture = mixtureOf(fileType.name);
  const mix = startMixing(fileType, mixture, facts, wishes);
  return tensors.map((tensor, index) => {
    const category = categories[index]!;
    const kept =
      keptBecause(tensor.name, tensor.shape.length) ??
      (wishes.leaveOutputTensor && isOutput(tensor.name) ? 'kept on request' : undefined);
    if (kept !== undefined) return keep(tensor.type, kept);
    const { fitted, wanted } = choose(tensor, category, fileType, mixture, wishes, mix);
    return {
      type: fitted.type,
      reason: fitted.why,
      allowed: true,
      needsImportance: needsImportance(tensor.name, fitted.type, fileType),
      wanted,
    };
  });
}

function keep(type: GgmlType, reason: string): Decision {
  return { type, reason, allowed: false, needsImportance: false };
}

function choose(
  tensor: Candidate,
  category: Category,
  fileType: FileType,
  mixture: Mixture,
  wishes: TypeWishes,
  mix: (tensor: Candidate, category: Category) => Choice,
): { readonly fitted: Choice; readonly wanted?: GgmlType } {
  const matched = wishes.patterns?.find(({ pattern }) => pattern.test(tensor.name));
  const { tokenEmbeddingType: embedding, outputTensorType: output } = wishes;
  if (embedding !== undefined && category === 'embedding') {
    // The table of embeddings for each layer is large and may be named by itself.
    if (matched === undefined || !isPerLayerEmbedding(tensor.name)) {
      return { fitted: exactly(tensor, embedding, 'type of embeddings, as asked') };
    }
  }
  if (output !== undefined && category === 'output') {
    return { fitted: exactly(tensor, output, 'type of the output, as asked') };
  }
  const main = { type: fileType.main, why: `main type of ${fileType.name}` };
  if (!isBlockType(fileType.main)) return { fitted: main };
  const choice =
    matched !== undefined
      ? { type: matched.type, why: `matches the pattern ${matched.pattern.source}` }
      : wishes.pure
        ? main
        : mix(tensor, category);
  const fitted = fitBlocks(tensor, choice, mixture.fallback);
  return fitted.type === choice.type ? { fitted } : { fitted, wanted: choice.type };
}

/** The mixture of a file type, with the counters that run along the tensors. */
function startMixing(
  fileType: FileType,
  mixture: Mixture,
  facts: ModelFacts,
  wishes: TypeWishes,
): (tensor: Candidate, category: Category) => Choice {
  const seen = { values: 0, ffn_down: 0, ffn_gate: 0, ffn_up: 0 };
  const main: Choice = { type: fileType.main, why: `main type of ${fileType.name}` };
  const falcon = facts.architecture === 'falcon';
  const eight = facts.experts === 8;
  const apply = (rule: Rule | undefined, index: number, of: number): Choice =>
    rule?.(index, of, facts) ?? main;

  function outputLike(tensor: Candidate): Choice {
    const what = isOutput(tensor.name) ? 'output' : 'embeddings that serve as output';
    if (wishes.outputTensorType !== undefined) {
      return { type: wishes.outputTensorType, why: `${what}: type of the output, as asked` };
    }
    if (mixture.besidesExperts !== undefined) return { type: mixture.besidesExperts, why: what };
    if (falcon || tensor.shape[0]! % GGML_TYPES[fileType.main].size !== 0) return { type: 'q8_0', why: what };
    if (mixture.output !== undefined) return { type: mixture.output, why: what };
    return fileType.main === 'q8_0' ? main : { type: 'q6_K', why: what };
  }

  function expertsOnly(tensor: Candidate, category: Category, others: GgmlType): Choice {
    const expert =
      (tensor.shape[2] ?? 1) > 1 &&
      (facts.architecture !== 'bailingmoe3' || /^ffn_(up|gate|down)$/.test(category));
    return expert ? { type: fileType.main, why: 'experts' } : { type: others, why: 'not an expert' };
  }

  function veryLow(category: Category, kind: NonNullable<Mixture['veryLow']>): Choice {
    const better: GgmlType = kind === 'two bits, better' ? 'iq3_s' : 'q2_K';
    if (isValueLike(category)) {
      seen.values++;
      const small = facts.headsPerGroup >= 4 || facts.experts >= 4;
      return { type: small ? 'q4_K' : better, why: 'attention values do not stand so few bits' };
    }
    if (category === 'attn_k' && eight) return { type: 'q4_K', why: 'attention keys, eight experts' };
    if (category === 'ffn_down') {
      const early = seen.ffn_down++ < eighth(facts.layers);
      return early ? { type: better, why: 'down projection among the first' } : main;
    }
    if (category === 'attn_output') {
      const why = 'output projection of attention';
      if (eight) return { type: 'q5_K', why: `${why}, eight experts` };
      if (kind === 'one bit') return { type: 'iq2_xxs', why };
      if (kind === 'two bits, better') return { type: 'iq3_s', why };
    }
    return main;
  }

  function values(): Choice {
    let choice = apply(mixture.values, seen.values++, facts.valueWeights);
    if (facts.seventyBillion && (choice.type === 'q3_K' || choice.type === 'q4_K')) {
      choice = { type: 'q5_K', why: 'attention values of a 70B model are small' };
    }
    return eight ? { type: 'q8_0', why: 'attention values, eight experts' } : choice;
  }

  return (tensor, category) => {
    if (category === 'output' || (facts.tied && category === 'embedding')) return outputLike(tensor);
    if (mixture.besidesExperts !== undefined) return expertsOnly(tensor, category, mixture.besidesExperts);
    if (category === 'embedding') return mixture.embedding ?? main;
    if (mixture.veryLow !== undefined) return veryLow(category, mixture.veryLow);
    if (isValueLike(category)) return values();
    switch (category) {
      case 'attn_k':
        if (eight) return { type: 'q8_0', why: 'attention keys, eight experts' };
        return apply(mixture.keysAndQueries, 0, 0);
      case 'attn_q':
        return apply(mixture.keysAndQueries, 0, 0);
      case 'attn_output':
        if (falcon) return apply(mixture.attentionOutputOfFalcon, 0, 0);
        if (!eight) return apply(mixture.attentionOutput, 0, 0);
        return mixture.betterWithEightExperts
          ? { type: 'q5_K', why: 'output projection of attention, eight experts' }
          : main;
      case 'ffn_down':
      case 'ffn_gate':
      case 'ffn_up': {
        const running = seen[category]++;
        const layer = facts.experts > 1 ? layerIn(tensor.name, facts.layers) : running;
        const falcons = falcon ? mixture.downOfFalcon : undefined;
        const rule = category === 'ffn_down' ? (falcons ?? mixture.down) : mixture.gateAndUp;
        return apply(rule, layer, facts.layers);
      }
      default:
        return main;
    }
  };
}

/** Layer number of a name that starts with `blk.7`, or undefined. */
export function layerOf(name: string): number | undefined {
  const digits = /^blk\.(\d{1,9})/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** With experts, feed-forward weights are placed by the layer in their name, since a layer may have many of them. */
function layerIn(name: string, layers: number): number {
  const layer = layerOf(name);
  if (layer !== undefined && layer < layers) return layer;
  throw new WhittleError('E_UNSUPPORTED', 'the mix needs the layer of a weight, and its name does not tell', {
    tensor: name,
    expected: `blk.N. with N from 0 to ${layers - 1}`,
    found: layer === undefined ? 'no layer in the name' : `layer ${layer}`,
    hint: 'Name its type with --tensor-type, use --pure, or correct the block count with --override-kv.',
  });
}

/** Smaller blocks for rows that are not a multiple of the wanted ones. */
const SMALLER: Partial<Record<GgmlType, GgmlType>> = {
  iq1_s: 'iq4_nl',
  iq1_m: 'iq4_nl',
  iq2_xxs: 'iq4_nl',
  iq2_xs: 'iq4_nl',
  iq2_s: 'iq4_nl',
  iq3_xxs: 'iq4_nl',
  iq3_s: 'iq4_nl',
  iq4_xs: 'iq4_nl',
  q2_0: 'q4_0',
  q2_K: 'q4_0',
  q3_K: 'q4_0',
  tq1_0: 'q4_0',
  tq2_0: 'q4_0',
  q4_K: 'q5_0',
  q5_K: 'q5_1',
  q6_K: 'q8_0',
};

function fitBlocks(tensor: Candidate, choice: Choice, ownFallback: GgmlType | undefined): Choice {
  const columns = tensor.shape[0]!;
  const { size } = GGML_TYPES[choice.type];
  if (columns % size === 0) return choice;
  const smaller = SMALLER[choice.type] ?? (size <= 32 ? choice.type : ownFallback);
  if (smaller === undefined) throw notDivisible(tensor, choice.type);
  const rows = `rows of ${columns} values are no multiple of ${choice.type}'s ${size}`;
  return columns % GGML_TYPES[smaller].size === 0
    ? { type: smaller, why: `${rows} (${choice.why})` }
    : { type: 'f16', why: `${rows}, nor of a smaller block (${choice.why})` };
}

/** A type that the user named for this very tensor: it has to fit. */
function exactly(tensor: Candidate, type: GgmlType, why: string): Choice {
  if (tensor.shape[0]! % GGML_TYPES[type].size !== 0) throw notDivisible(tensor, type);
  return { type, why };
}

function notDivisible({ name, shape }: Candidate, type: GgmlType): WhittleError {
  return new WhittleError('E_UNSUPPORTED', `the rows of a weight do not divide into blocks of ${type}`, {
    tensor: name,
    expected: `a multiple of ${GGML_TYPES[type].size} values in a row`,
    found: `${shape[0]}`,
    hint: 'Choose a type with smaller blocks (32: q4_0, q8_0, iq4_nl), or f16.',
  });
}

const USELESS_UNGUIDED: ReadonlySet<GgmlType> = new Set([
  'iq3_xxs',
  'iq2_xxs',
  'iq2_xs',
  'iq2_s',
  'iq1_m',
  'iq1_s',
]);

function needsImportance(name: string, type: GgmlType, fileType: FileType): boolean {
  if (isEmbedding(name) || isOutput(name)) return false;
  return USELESS_UNGUIDED.has(type) || (type === 'q2_K' && fileType.name === 'Q2_K_S');
}
