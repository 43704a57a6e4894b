/**
 * Splits models into parts and joins them again, as llama-gguf-split does. All metadata goes into the first part; every part
 * says its number, how many there are, and how many tensors the whole model has. Tensors keep their order, none is divided.
 *
 * Where the original leaves files that no reader takes (an alignment other than 32: parts are laid out by 32, and the key
 * stands in the first part only), every part here says its alignment and is laid out by it.
 *
 * Source: llama.cpp's gguf-split; docs/gguf.md.
 */

import { WhittleError } from '../../errors.ts';
import type { OutputFile } from '../layout.ts';
import type { GgufItem, GgufModel, GgufOutputTensor, GgufTensor } from './gguf.ts';
import { ALIGNMENT_KEY, DEFAULT_ALIGNMENT } from './reader.ts';
import { padded } from './reader-tensors.ts';
import { SPLIT_COUNT, SPLIT_KEYS, SPLIT_NO, SPLIT_TENSORS, splitName } from './split-names.ts';
import { layoutGguf } from './writer.ts';

/** llama-gguf-split's own default. */
export const DEFAULT_MAX_TENSORS = 128;
/** `split.no` and `split.count` are u16. */
const MAX_PARTS = 65535;

export interface SplitOptions {
  /** Tensors of one part at most. Default 128, where `maxBytes` is not given; not together with it. */
  readonly maxTensors?: number | undefined;
  /** Bytes of padded payloads of one part at most, metadata not counted. A larger tensor has a part for itself. */
  readonly maxBytes?: number | undefined;
  /** The first part holds metadata only: it can be downloaded to look at the model. */
  readonly noTensorFirst?: boolean | undefined;
}

/**
 * The parts of a model, named `<prefix>-00001-of-0000N.gguf`.
 * @param prefix Bare name without ending.
 * @throws WhittleError E_USAGE (both limits, or a limit that is no positive number), E_LIMIT (too many parts)
 */
export function splitGguf(model: GgufModel, prefix: string, options: SplitOptions = {}): OutputFile[] {
  const groups = groupTensors(model, options);
  if (groups.length > MAX_PARTS) {
    throw new WhittleError('E_LIMIT', 'the model would have too many parts', {
      file: model.file,
      expected: `at most ${MAX_PARTS}`,
      found: String(groups.length),
      hint: 'Allow larger parts.',
    });
  }
  return groups.map((tensors, index) =>
    layoutGguf({
      name: splitName(prefix, index, groups.length),
      alignment: model.alignment,
      metadata: [
        ...(index === 0 ? keptItems(model) : alignmentItems(model)),
        ...splitItems('gguf-split', index, groups.length, model.tensors.length),
      ],
      tensors: tensors.map(copied),
    }),
  );
}

/**
 * The three keys of a part. The tools of llama.cpp write them in different orders, and files are compared by their bytes.
 * @param index From 0.
 */
export function splitItems(
  order: 'gguf-split' | 'quantize',
  index: number,
  count: number,
  tensors: number,
): GgufItem[] {
  const no: GgufItem = { kind: 'scalar', key: SPLIT_NO, type: 'u16', value: index };
  const parts: GgufItem = { kind: 'scalar', key: SPLIT_COUNT, type: 'u16', value: count };
  const total: GgufItem = { kind: 'scalar', key: SPLIT_TENSORS, type: 'i32', value: tensors };
  return order === 'gguf-split' ? [no, total, parts] : [no, parts, total];
}

export interface MergeOptions {
  /**
   * `removed` (default): a model that was split and joined again is what it was. `zero`: as llama-gguf-split leaves them,
   * `split.count` 0 at the end.
   */
  readonly splitKeys?: 'removed' | 'zero' | undefined;
}

/** One file with all tensors of a model, in the order of its parts; the metadata is that of the first part. */
export function mergeGguf(model: GgufModel, name: string, options: MergeOptions = {}): OutputFile {
  const zero = options.splitKeys === 'zero';
  const metadata: GgufItem[] = zero
    ? [
        ...model.metadata
          .filter(({ key }) => key !== SPLIT_COUNT)
          .map((entry): GgufItem => ({ kind: 'copied', entry })),
        { kind: 'scalar', key: SPLIT_COUNT, type: 'u16', value: 0 },
      ]
    : keptItems(model);
  return layoutGguf({
    name,
    alignment: model.alignment,
    metadata,
    tensors: model.tensors.map(copied),
  });
}

function keptItems(model: GgufModel): GgufItem[] {
  return model.metadata
    .filter(({ key }) => !SPLIT_KEYS.has(key))
    .map((entry): GgufItem => ({ kind: 'copied', entry }));
}

/** Readers lay each part out by its own key. */
function alignmentItems(model: GgufModel): GgufItem[] {
  const entry = model.entry(ALIGNMENT_KEY);
  return model.alignment === DEFAULT_ALIGNMENT || entry === undefined ? [] : [{ kind: 'copied', entry }];
}

function copied({ name, shape, type, data }: GgufTensor): GgufOutputTensor {
  return { name, shape, type, content: { kind: 'copy', ...data } };
}

function groupTensors(model: GgufModel, options: SplitOptions): GgufTensor[][] {
  const { maxBytes } = options;
  if (maxBytes !== undefined && options.maxTensors !== undefined) {
    throw new WhittleError('E_USAGE', 'the size of parts is limited by tensors or by bytes, not by both');
  }
  const maxTensors = options.maxTensors ?? DEFAULT_MAX_TENSORS;
  assertPositive(maxBytes ?? maxTensors);
  const groups: GgufTensor[][] = options.noTensorFirst === true ? [[]] : [];
  let group: GgufTensor[] = [];
  groups.push(group);
  let held = 0;
  for (const [index, tensor] of model.tensors.entries()) {
    const size = padded(tensor.data.length, model.alignment);
    const isFull =
      maxBytes === undefined
        ? index > 0 && index % maxTensors === 0
        : group.length > 0 && held + size > maxBytes;
    if (isFull) {
      group = [];
      groups.push(group);
      held = 0;
    }
    group.push(tensor);
    held += size;
  }
  return groups;
}

function assertPositive(value: number): void {
  if (Number.isSafeInteger(value) && value > 0) return;
  throw new WhittleError('E_USAGE', 'the limit of a part is not a positive whole number', {
    found: String(value),
  });
}
