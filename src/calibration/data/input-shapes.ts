/**
 * Sizes for the dimensions that a model leaves open. Every open dimension gets a role from its own name, its input's name and
 * its place (batch, sequence, past, image height …); every role has a short list of usual sizes. The combinations, most
 * usual first, are scenarios: whoever runs the original model takes the first that it accepts.
 */

import { DTYPES } from '../../core/dtype.ts';
import type { Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { RuntimeValueInfo } from '../../runtime/runtime.ts';
import type { InputHints } from './graph-hints.ts';

export type DimensionRole =
  | 'batch'
  /** Length of the key/value cache before this call. */
  | 'past'
  /** past + sequence. */
  | 'total'
  | 'sequence'
  | 'encoder'
  | 'audio'
  | 'frames'
  | 'height'
  | 'width'
  | 'channels'
  | 'features'
  | 'other';

/** Shapes of all inputs that fit together, and the sizes behind them. */
export interface Scenario {
  readonly shapes: ReadonlyMap<string, Shape>;
  readonly sequence: number;
  readonly past: number;
}

const MAX_SCENARIOS = 40;
const IMAGE_SIZES = [
  [224, 224],
  [48, 192],
  [320, 320],
  [640, 640],
  [256, 256],
  [32, 320],
  [512, 512],
  [64, 64],
  [28, 28],
  [32, 32],
  [384, 384],
] as const;

const AUDIO_INPUT = /audio|wave|pcm|speech|signal|input_values/i;
const STATE_INPUT = /state|^[hc][_0n]*$|hidden|memory/i;
const CACHE_INPUT = /past|cache|(^|[._])(key|value)s?([._]|$)/i;

export function isState(name: string): boolean {
  return STATE_INPUT.test(name) || isCache(name);
}

export function isCache(name: string): boolean {
  // pixel_values and input_values are what vision and audio models of transformers call their data.
  return CACHE_INPUT.test(name) && !/position|branch|use_|(pixel|input)_values/i.test(name);
}

export function isAudio(input: RuntimeValueInfo, all: readonly RuntimeValueInfo[]): boolean {
  if (DTYPES[input.dtype].kind !== 'float' || input.shape.length > 3 || isState(input.name)) return false;
  if (AUDIO_INPUT.test(input.name)) return true;
  return input.shape.length <= 2 && input.shape.length > 0 && all.some(({ name }) => isSampleRate(name));
}

export function isSampleRate(name: string): boolean {
  return /^(sr|sample_?rate|sampling_?rate|fs)$/i.test(name);
}

/** Axis of the channels of an image input: 1 (NCHW), 3 (NHWC), or undefined where it is none. */
export function imageChannelAxis(input: RuntimeValueInfo): 1 | 3 | undefined {
  const { dtype, shape, name } = input;
  if (shape.length !== 4 || isState(name)) return undefined;
  if (DTYPES[dtype].kind !== 'float' && dtype !== 'uint8') return undefined;
  const few = (dim: number | string | null | undefined): boolean => dim === 1 || dim === 3 || dim === 4;
  if (few(shape[1])) return 1;
  if (few(shape[3])) return 3;
  return typeof shape[1] === 'number' ? undefined : 1;
}

export function roleOf(
  input: RuntimeValueInfo,
  index: number,
  all: readonly RuntimeValueInfo[],
): DimensionRole {
  const dim = input.shape[index];
  const name = typeof dim === 'string' ? dim.toLowerCase() : '';
  const rank = input.shape.length;
  if (/\+|total|kv_len/.test(name)) return 'total';
  if (/past/.test(name)) return 'past';
  if (/batch|^(n|b|bs|bsz)$|beam/.test(name)) return 'batch';
  if (/encoder/.test(name)) return 'encoder';
  if (/channel/.test(name)) return 'channels';
  if (/height|^h$/.test(name)) return 'height';
  if (/width|^w$/.test(name)) return 'width';
  const image = imageChannelAxis(input);
  if (image !== undefined && !/seq|token/.test(name)) {
    const place =
      image === 1
        ? (['batch', 'channels', 'height', 'width'] as const)
        : (['batch', 'height', 'width', 'channels'] as const);
    return place[index] ?? 'other';
  }
  if (isAudio(input, all)) return index === rank - 1 ? 'audio' : index === 0 ? 'batch' : 'channels';
  if (/seq|len|token|word|time|frame|step|^[tls]$/.test(name)) {
    return DTYPES[input.dtype].kind === 'float' && rank === 3 && /feature|mel|spec|fbank/i.test(input.name)
      ? 'frames'
      : 'sequence';
  }
  if (isCache(input.name)) return index === 0 ? 'batch' : index === rank - 2 ? 'past' : 'other';
  if (isState(input.name))
    return rank === 3 ? (index === 1 ? 'batch' : 'other') : index === 0 ? 'batch' : 'other';
  if (index === 0 && rank >= 2) return 'batch';
  if (/attention_mask/i.test(input.name) && index === 1 && all.some(({ name }) => isCache(name)))
    return 'total';
  if (DTYPES[input.dtype].kind === 'float' && rank >= 2) {
    if (rank === 3 && /feature|mel|spec|fbank/i.test(input.name)) return 'frames';
    if (index === rank - 1) return 'features';
    return rank === 3 ? 'sequence' : 'other';
  }
  return rank <= 2 && DTYPES[input.dtype].kind !== 'float' ? 'sequence' : 'other';
}

interface OpenDimension {
  /** Symbol, or the place of a nameless dimension: equal keys get equal sizes. */
  readonly key: string;
  readonly role: DimensionRole;
}

/** One dial of the search: the roles it sets and the sizes to try. */
type Dial = readonly Readonly<Partial<Record<DimensionRole, number>>>[];

/**
 * Scenarios for `inputs`, most usual first. `fixed` are shapes the user gave: E_USAGE where a name is unknown or a shape
 * contradicts the model.
 */
export function inputScenarios(
  inputs: readonly RuntimeValueInfo[],
  hints: InputHints,
  fixed: Readonly<Record<string, Shape>> = {},
): Scenario[] {
  const bound = bindFixed(inputs, fixed);
  const open = new Map<string, OpenDimension>();
  for (const input of inputs) {
    input.shape.forEach((dim, index) => {
      const key = dimensionKey(input, index);
      if (typeof dim === 'number' || bound.has(key) || open.has(key)) return;
      open.set(key, { key, role: roleOf(input, index, inputs) });
    });
  }
  const roles = new Set([...open.values()].map(({ role }) => role));
  const dials = dialsFor(roles, inputs);
  return combinations(dials).map((sizes) => {
    const sequence = sizes.sequence ?? 16;
    const past = sizes.past ?? 0;
    const sizeOf = (role: DimensionRole): number =>
      role === 'total' ? past + sequence : (sizes[role] ?? (role === 'past' ? 0 : 1));
    const shapes = new Map<string, Shape>();
    for (const input of inputs) {
      shapes.set(
        input.name,
        input.shape.map((dim, index) => {
          if (typeof dim === 'number') return dim;
          const key = dimensionKey(input, index);
          const role = open.get(key)?.role;
          const hinted =
            role === 'channels'
              ? hints.channels.get(input.name)
              : role === 'features' || (role === 'other' && index === input.shape.length - 1)
                ? hints.features.get(input.name)
                : undefined;
          return bound.get(key) ?? hinted ?? (role === undefined ? 1 : sizeOf(role));
        }),
      );
    }
    return { shapes, sequence, past };
  });
}

function dimensionKey(input: RuntimeValueInfo, index: number): string {
  const dim = input.shape[index];
  return typeof dim === 'string' ? dim : `${input.name}[${index}]`;
}

function bindFixed(
  inputs: readonly RuntimeValueInfo[],
  fixed: Readonly<Record<string, Shape>>,
): Map<string, number> {
  const bound = new Map<string, number>();
  for (const [name, shape] of Object.entries(fixed)) {
    const input = inputs.find((candidate) => candidate.name === name);
    if (input === undefined) {
      throw new WhittleError('E_USAGE', `the model has no input named ${name}`, {
        expected: `one of ${inputs.map((candidate) => candidate.name).join(', ')}`,
      });
    }
    const agrees =
      shape.length === input.shape.length &&
      input.shape.every((dim, index) => typeof dim !== 'number' || dim === shape[index]);
    if (!agrees) {
      throw new WhittleError('E_USAGE', `the shape given for input ${name} contradicts the model`, {
        tensor: name,
        expected: input.shape.map((dim) => dim ?? '?').join('×'),
        found: shape.join('×'),
      });
    }
    shape.forEach((dim, index) => {
      if (typeof input.shape[index] !== 'number') bound.set(dimensionKey(input, index), dim);
    });
  }
  return bound;
}

function dialsFor(roles: ReadonlySet<DimensionRole>, inputs: readonly RuntimeValueInfo[]): Dial[] {
  const dials: Dial[] = [];
  const list = (role: DimensionRole, sizes: readonly number[]): void => {
    if (roles.has(role)) dials.push(sizes.map((size) => ({ [role]: size })));
  };
  if (roles.has('height') && roles.has('width')) {
    dials.push(IMAGE_SIZES.map(([height, width]) => ({ height, width })));
  } else {
    const image = inputs.find((input) => imageChannelAxis(input) !== undefined);
    const known = image?.shape.filter((dim): dim is number => typeof dim === 'number' && dim > 4)[0] ?? 224;
    // Text lines are wide: 48×320 and 32×320 are the usual sizes of recognisers.
    const other = known <= 64 ? [320, 192, 100, known, 256] : [known, 224, 320, 640];
    list('height', other);
    list('width', other);
  }
  list('channels', [3, 1, 4]);
  // The first three sizes are one frame of common voice detectors, the others a part of and a whole second.
  list('audio', [512, 576, 1536, 8000, 16000, 48000]);
  list('frames', [3000, 100, 200, 64, 16]);
  if (roles.has('sequence') || roles.has('total')) {
    dials.push([16, 8, 32, 1, 64, 128, 4, 2].map((sequence) => ({ sequence })));
  }
  list('past', [0, 8, 1]);
  list('encoder', [16, 1500, 64, 1]);
  list('features', [64, 16, 80, 128, 256, 512, 768, 1]);
  list('other', [1, 8, 16, 4, 2, 32, 64]);
  list('batch', [1, 2]);
  return dials;
}

/** Products of all dials, those with the smallest sum of positions first. */
function combinations(dials: readonly Dial[]): Partial<Record<DimensionRole, number>>[] {
  let partial: { sizes: Partial<Record<DimensionRole, number>>; rank: number }[] = [{ sizes: {}, rank: 0 }];
  for (const dial of dials) {
    partial = partial
      .flatMap(({ sizes, rank }) =>
        dial.map((setting, index) => ({ sizes: { ...sizes, ...setting }, rank: rank + index })),
      )
      .sort((a, b) => a.rank - b.rank)
      .slice(0, MAX_SCENARIOS);
  }
  return partial.map(({ sizes }) => sizes);
}
