/**
 * The keys of the output, in order. Setting a key means removing it and appending it, so what llama-quantize sets stands at
 * the end: quantization version, file type, the user's overrides, the importance matrix, the count of layers, the
 * parts. Everything else is copied byte for byte, but for texts with a NUL in them, which llama-quantize cuts there.
 */

import { WhittleError } from '../../errors.ts';
import type {
  GgufArrayEntry,
  GgufEntry,
  GgufItem,
  GgufModel,
  GgufScalarType,
  GgufValue,
} from '../../formats/gguf/gguf.ts';
import type { Imatrix } from '../../formats/gguf/imatrix-types.ts';
import { architectureOf, type Overrides } from './facts.ts';
import { cutPerLayer, isPerLayer, type LayerNumbers } from './layers.ts';

/** Version of the block layouts, unchanged since 2023. */
const QUANTIZATION_VERSION = 2;
const ALIGNMENT_KEY = 'general.alignment';
const SPLIT_KEYS = ['split.no', 'split.count', 'split.tensors.count'] as const;
/** llama.cpp keeps texts of overrides in 128 bytes, the last a NUL. */
export const LONGEST_OVERRIDE_TEXT = 127;

export interface MetadataWishes {
  readonly fileType: number;
  readonly overrides: Overrides;
  readonly imatrix?: { readonly source: Imatrix; readonly entries: number } | undefined;
  readonly layers?: { readonly numbers: LayerNumbers; readonly before: number } | undefined;
}

export interface Metadata {
  readonly items: readonly GgufItem[];
  readonly alignment: number;
  readonly notes: readonly string[];
}

/** Keys of a file, or of the first part. */
export async function planMetadata(model: GgufModel, wishes: MetadataWishes): Promise<Metadata> {
  const { overrides, imatrix, layers } = wishes;
  const architecture = architectureOf(model, overrides);
  const notes: string[] = [];
  // A Map keeps the order of insertion: removing and setting appends.
  const items = new Map<string, GgufItem>();
  const set = (item: GgufItem): void => {
    const key = item.kind === 'copied' ? item.entry.key : item.key;
    items.delete(key);
    items.set(key, item);
  };
  const setScalar = (key: string, type: GgufScalarType, value: GgufValue): void =>
    set({ kind: 'scalar', key, type, value });

  for (const entry of model.metadata) {
    if (layers !== undefined && entry.type === 'array' && isPerLayer(entry, architecture, layers.before)) {
      set(await cutPerLayer(model, entry, layers.numbers.pruned));
      notes.push(`${entry.key}: the values of the pruned layers are left out.`);
      continue;
    }
    const item = await copied(model, entry);
    if (item.kind !== 'copied') notes.push(`${entry.key}: text is cut at an embedded NUL.`);
    set(item);
  }
  setScalar('general.quantization_version', 'u32', QUANTIZATION_VERSION);
  setScalar('general.file_type', 'u32', wishes.fileType);
  for (const key of SPLIT_KEYS) items.delete(key);
  for (const { key, type, value } of overrides) setScalar(key, type, value);
  if (imatrix !== undefined) {
    const { file, datasets, chunks } = imatrix.source;
    setScalar('quantize.imatrix.file', 'string', cutText(file));
    const [dataset] = datasets;
    if (dataset !== undefined) setScalar('quantize.imatrix.dataset', 'string', cutText(dataset));
    setScalar('quantize.imatrix.entries_count', 'u32', imatrix.entries);
    if (chunks > 0) setScalar('quantize.imatrix.chunks_count', 'u32', chunks);
  }
  if (layers !== undefined)
    setScalar(`${architecture ?? 'unknown'}.block_count`, 'u32', layers.numbers.count);
  return { items: [...items.values()], alignment: alignmentOf(items, model), notes };
}

/** The keys that tell a part of a split model what it is, in llama-quantize's order. */
export function partItems(part: number, parts: number, tensors: number): GgufItem[] {
  return [
    { kind: 'scalar', key: 'split.no', type: 'u16', value: part },
    { kind: 'scalar', key: 'split.count', type: 'u16', value: parts },
    { kind: 'scalar', key: 'split.tensors.count', type: 'i32', value: tensors },
  ];
}

/** Payloads are aligned as the output's own key says, so that the file can be read. */
function alignmentOf(items: ReadonlyMap<string, GgufItem>, model: GgufModel): number {
  const item = items.get(ALIGNMENT_KEY);
  if (item === undefined || item.kind === 'copied') return model.alignment;
  const value = item.kind === 'scalar' && item.type === 'u32' ? Number(item.value) : 0;
  if (value < 1 || value > 1 << 20 || (value & (value - 1)) !== 0) {
    throw new WhittleError('E_USAGE', `${ALIGNMENT_KEY} is overridden with what no reader takes`, {
      expected: 'int: a power of two up to 1048576',
      found: item.kind === 'scalar' ? `${item.type} ${item.value}` : 'a list',
    });
  }
  return value;
}

/** First 127 bytes of a text, not within a character, up to a NUL. */
function cutText(text: string): string {
  const bytes = new TextEncoder().encode(text.split('\0', 1)[0]);
  if (bytes.length <= LONGEST_OVERRIDE_TEXT) return new TextDecoder().decode(bytes);
  let end = LONGEST_OVERRIDE_TEXT;
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--;
  return new TextDecoder().decode(bytes.subarray(0, end));
}

async function copied(model: GgufModel, entry: GgufEntry): Promise<GgufItem> {
  const key = beforeNul(entry.key);
  if (entry.type !== 'array') {
    const value = typeof entry.value === 'string' ? beforeNul(entry.value) : entry.value;
    if (key === entry.key && value === entry.value) return { kind: 'copied', entry };
    return { kind: 'scalar', key, type: entry.type, value };
  }
  const { elementType } = entry;
  if (elementType !== 'string') {
    if (key === entry.key) return { kind: 'copied', entry };
    return { kind: 'array', key, elementType, values: await model.readArray(entry) };
  }
  if (key === entry.key && !(await holdsNul(entry))) return { kind: 'copied', entry };
  const values = await model.readArray(entry);
  return { kind: 'array', key, elementType, values: values.map((value) => beforeNul(String(value))) };
}

const beforeNul = (text: string): string => text.split('\0', 1)[0] ?? '';

const WINDOW = 1 << 20;
const LENGTH_BYTES = 8;

/** Whether a text of a list holds a NUL: the bytes are walked through a window, nothing is decoded. */
async function holdsNul({ count, elements }: GgufArrayEntry): Promise<boolean> {
  let window = new Uint8Array(0);
  let start = 0;
  const end = elements.length;
  const load = async (at: number, wanted: number): Promise<void> => {
    if (at >= start && at + wanted <= start + window.length) return;
    window = new Uint8Array(Math.min(end - at, Math.max(WINDOW, wanted)));
    start = at;
    await elements.source.readInto(elements.offset + at, window);
  };
  let at = 0;
  for (let i = 0; i < count && at + LENGTH_BYTES <= end; i++) {
    await load(at, LENGTH_BYTES);
    const view = new DataView(window.buffer, at - start, LENGTH_BYTES);
    const stop = at + LENGTH_BYTES + Number(view.getBigUint64(0, true));
    at += LENGTH_BYTES;
    while (at < stop) {
      const length = Math.min(stop - at, WINDOW);
      await load(at, length);
      if (window.subarray(at - start, at - start + length).includes(0)) return true;
      at += length;
    }
  }
  return false;
}
