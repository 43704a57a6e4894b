/**
 * The few numbers of a model that the type rules ask for, read from its metadata by key. An architecture need not be known: the keys
 * `<architecture>.block_count` … are conventions, and where one is missing a default stands in and a note says so.
 *
 * `--override-kv` applies here too, as in llama-quantize: the first value that the user gives for a key is what the rules see.
 */

import type { GgufModel, GgufValue } from '../../formats/gguf/gguf.ts';
import type { ModelFacts } from './mixtures.ts';
import type { GgufQuantizeOptions } from './options.ts';
import { layerOf } from './types.ts';

export type Overrides = NonNullable<GgufQuantizeOptions['overrideKv']>;

export type KnownFacts = Omit<ModelFacts, 'valueWeights' | 'tied'>;

/** Depths at which an architecture counts as "70B"; llama needs groups of heads too. */
const SEVENTY_BILLION: Readonly<Record<string, number>> = {
  llama: 80,
  'llama-embed': 80,
  qwen2: 80,
  deci: 80,
  olmo: 80,
  jais2: 68,
};

const INTEGERS = new Set(['u8', 'i8', 'u16', 'i16', 'u32', 'i32', 'u64', 'i64']);

/** Facts of the model, and what had to be assumed. */
export async function readFacts(
  model: GgufModel,
  overrides: Overrides,
  hasImportance: boolean,
): Promise<{ readonly facts: KnownFacts; readonly notes: readonly string[] }> {
  const notes: string[] = [];
  const architecture = architectureOf(model, overrides);
  const key = (name: string): string => `${architecture ?? ''}.${name}`;
  const integer = (name: string): number | undefined => integerValue(model, overrides, key(name));

  let layers = integer('block_count');
  if (layers === undefined) {
    layers = model.tensors.reduce((most, { name }) => Math.max(most, (layerOf(name) ?? -1) + 1), 0);
    notes.push(
      architecture === undefined
        ? `The file names no architecture: the mix goes by ${layers} layers, as counted in the names of the weights.`
        : `The file has no ${key('block_count')}: the mix goes by ${layers} layers, as counted in the names of the weights.`,
    );
  }
  const predicting = integer('nextn_predict_layers') ?? 0;
  const depth = layers - predicting;
  // Two architectures run more layers than they store or say.
  if (architecture === 'graniteswitch') layers = depth + 1;
  if (architecture === 'nanbeige') {
    const loops = integer('num_loops') ?? 1;
    if (loops > 1) layers = depth * loops;
  }
  const heads = (await firstInteger(model, overrides, key('attention.head_count'))) ?? 0;
  const keyHeads = (await firstInteger(model, overrides, key('attention.head_count_kv'))) ?? heads;
  const experts = integer('expert_count') ?? 0;
  const deep = architecture !== undefined && Object.hasOwn(SEVENTY_BILLION, architecture);
  const llama = architecture === 'llama' || architecture === 'llama-embed';
  return {
    facts: {
      architecture,
      layers,
      experts,
      headsPerGroup: keyHeads === 0 ? 0 : Math.floor(heads / keyHeads),
      seventyBillion:
        deep && depth === SEVENTY_BILLION[architecture] && (!llama || (experts !== 8 && heads !== keyHeads)),
      hasImportance,
    },
    notes,
  };
}

/** Architecture as the rules see it. */
export function architectureOf(model: GgufModel, overrides: Overrides): string | undefined {
  const given = overrides.find(({ key }) => key === 'general.architecture');
  if (given?.type === 'string') return String(given.value);
  return model.architecture;
}

/** A key's integer, from an override or the file; undefined where it is absent or no integer. */
export function integerValue(model: GgufModel, overrides: Overrides, key: string): number | undefined {
  const given = overrides.find((override) => override.key === key);
  if (given !== undefined && INTEGERS.has(given.type)) return asNumber(given.value);
  const entry = model.entry(key);
  return entry === undefined || !INTEGERS.has(entry.type) ? undefined : asNumber(model.value(key));
}

/** The same, of layer 0 where the file has a value for each layer; an override does not reach into such a list. */
async function firstInteger(
  model: GgufModel,
  overrides: Overrides,
  key: string,
): Promise<number | undefined> {
  const entry = model.entry(key);
  if (entry?.type !== 'array') {
    return entry === undefined ? undefined : integerValue(model, overrides, key);
  }
  if (entry.count === 0 || !INTEGERS.has(entry.elementType)) return undefined;
  const [value] = await model.readArray(entry, 0, 1);
  return asNumber(value);
}

function asNumber(value: GgufValue | undefined): number | undefined {
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : undefined;
}
