/**
 * The plan of a GGUF quantization: every weight's type and why, the tasks that make it, and where every byte of
 * the output goes. Nothing of the weights is read. The files that follow from it are those of llama-quantize, byte for byte;
 * where llama-quantize stops or writes what cannot be read, docs/gguf-types.md says what this does instead.
 *
 * The way: options → filters of the importance matrix → facts of the model → order and names → types → tasks → metadata → layout.
 */

import { BLOCK_TYPES, GGML_TYPES, type GgmlType, isBlockType } from '../../core/ggml-types.ts';
import { WhittleError } from '../../errors.ts';
import type { GgufItem, GgufModel, GgufOutputTensor, GgufTensor } from '../../formats/gguf/gguf.ts';
import { DEFAULT_ALIGNMENT } from '../../formats/gguf/reader.ts';
import { parseSplitName, splitName } from '../../formats/gguf/split-names.ts';
import { type GgufPlaces, placeGguf } from '../../formats/gguf/writer.ts';
import type { OutputFile, TensorBytes } from '../../formats/layout.ts';
import type { Task } from '../../numerics/task.ts';
import { isEmbedding, isOutput } from './categories.ts';
import { checkOptions, isWeightType } from './check-options.ts';
import { integerValue, readFacts } from './facts.ts';
import { COPY, parseFileType } from './file-types.ts';
import { guessFileType } from './guess-file-type.ts';
import { type Guide, guideOf, type Importance, importanceOf } from './importance.ts';
import { type LayerNumbers, renumberLayers } from './layers.ts';
import { partItems, planMetadata } from './metadata.ts';
import type { GgufQuantizeOptions, PlannedGguf, PlannedGgufTensor } from './options.ts';
import { type ArrangedTensor, arrange } from './order.ts';
import { compilePattern } from './pattern.ts';
import { type Decision, decideTypes } from './types.ts';

/**
 * Plans one output (or its parts) of `model`.
 * @throws WhittleError E_USAGE for options that contradict each other, E_REQUANT, E_IMATRIX, E_UNSUPPORTED
 */
export async function planGguf(model: GgufModel, options: GgufQuantizeOptions): Promise<PlannedGguf> {
  const fileType = parseFileType(options.to);
  checkOptions(options);
  const overrides = options.overrideKv ?? [];
  const guide = guideOf(options);
  const { facts, notes: assumed } = await readFacts(model, overrides, guide !== undefined);
  const prune = options.pruneLayers ?? [];
  const layers =
    prune.length === 0
      ? undefined
      : renumberLayers(
          model.tensors.map(({ name }) => name),
          prune,
        );
  const tensors = arrange(model.tensors, layers?.rename ?? ((name) => name), options.keepSplit ?? false);
  const patterns = (options.tensorTypes ?? []).map(({ pattern, type }) => ({
    pattern: compilePattern(pattern),
    type,
  }));
  const decisions = decideTypes(
    tensors.map(({ name, shape, source }) => ({ name, shape, type: source.type })),
    fileType,
    facts,
    { ...options, patterns },
  );
  const notes = [...assumed, ...pruningNotes(prune, layers)];
  if (patterns.length > 0 && fileType !== COPY && !isBlockType(fileType.main)) {
    notes.push(`--tensor-type has no effect on ${fileType.name}: it names types within a quantized file.`);
  }

  const tasks: Task<TensorBytes>[] = [];
  const outcomes: Outcome[] = [];
  for (const [index, tensor] of tensors.entries()) {
    outcomes.push(await settle(tensor, decisions[index]!, guide, options, tasks));
  }
  notes.push(...outcomeNotes(outcomes, decisions, guide));

  const number = fileType === COPY ? guessFileType(model, overrides) : fileType.id;
  const before = integerValue(model, [], `${model.architecture ?? ''}.block_count`);
  const metadata = await planMetadata(model, {
    fileType: number,
    overrides,
    imatrix: guide === undefined ? undefined : { source: guide.source, entries: guide.entries.size },
    layers: layers === undefined ? undefined : { numbers: layers, before: before ?? facts.layers },
  });
  const files = layOut(outcomes, metadata.items, metadata.alignment, options);
  return {
    fileType: fileType === COPY ? undefined : fileType.id,
    name: fileType === COPY ? COPY : fileType.name,
    files: files.map(({ file }) => file),
    tasks,
    tensors: files.flatMap(({ tensors: planned }) => planned),
    notes: [...notes, ...metadata.notes],
    wantsImatrix: decisions.some(
      (decision, index) => decision.needsImportance && outcomes[index]?.importance !== true,
    ),
  };
}

/** What becomes of a weight, before its place in a file is known. */
interface Outcome {
  readonly tensor: ArrangedTensor;
  readonly type: GgmlType;
  readonly reason: string;
  readonly content: GgufOutputTensor['content'];
  readonly importance: boolean;
  /** Something that the user may not expect. */
  readonly note?: 'integers' | 'no entry' | undefined;
}

async function settle(
  tensor: ArrangedTensor,
  decision: Decision,
  guide: Guide | undefined,
  options: GgufQuantizeOptions,
  tasks: Task<TensorBytes>[],
): Promise<Outcome> {
  const { source, shape } = tensor;
  const { type: to, reason } = decision;
  const [columns = 1, matrixRows = 1, ...rest] = shape;
  const matrices = rest.reduce((product, dimension) => product * dimension, 1);
  const kept = (why: string): Outcome => ({
    tensor,
    type: source.type,
    reason: why,
    content: copyOf(source, tasks),
    importance: false,
  });
  if (decision.needsImportance && guide === undefined && !options.dryRun) {
    throw missingImportance(source.name, to, undefined);
  }
  if (to === source.type) return kept(decision.allowed ? `already ${to}` : reason);
  if (!isWeightType(source.type)) {
    return { ...kept(`${source.type} values are no weights: kept`), note: 'integers' };
  }
  if (columns * matrixRows * matrices === 0) {
    return { ...kept(reason), type: to, content: { kind: 'bytes', bytes: new Uint8Array(0) } };
  }
  const entry = guide?.entries.get(source.name);
  let importance: Importance | undefined;
  if (guide !== undefined && entry !== undefined) {
    importance = await importanceOf(guide, entry, columns, matrices);
  }
  if (!options.dryRun) {
    if (decision.needsImportance && importance === undefined) {
      throw missingImportance(source.name, to, guide);
    }
    if (isBlockType(source.type) && !options.allowRequantize)
      throw alreadyQuantized(source.name, source.type);
  }
  const task: Task<TensorBytes> = {
    id: tasks.length,
    tensor: source.name,
    source: { kind: 'range', ...source.data },
    operation: {
      kind: 'ggml',
      from: source.type,
      to,
      rows: matrixRows * matrices,
      columns,
      matrixRows,
      importance: importance?.operation,
    },
    importance: importance?.task,
  };
  tasks.push(task);
  return {
    tensor,
    type: to,
    reason,
    content: { kind: 'task', task: task.id },
    importance: importance !== undefined,
    note: guide !== undefined && importance === undefined ? 'no entry' : undefined,
  };
}

/**
 * The bytes of a weight as they are. They pass by an operation all the same, block by block, since llama.cpp loads no NaN
 * and no Inf, and llama-quantize refuses to copy them.
 */
function copyOf(source: GgufTensor, tasks: Task<TensorBytes>[]): GgufOutputTensor['content'] {
  const { type, shape, name, data } = source;
  const count = shape.reduce((product, dimension) => product * dimension, 1);
  if (!isWeightType(type) || count === 0) return { kind: 'copy', ...data };
  const columns = GGML_TYPES[type].size;
  const rows = count / columns;
  const id = tasks.length;
  tasks.push({
    id,
    tensor: name,
    source: { kind: 'range', ...data },
    operation: { kind: 'ggml', from: type, to: type, rows, columns, matrixRows: rows },
  });
  return { kind: 'task', task: id };
}

interface Part {
  readonly file: OutputFile;
  readonly tensors: readonly PlannedGgufTensor[];
}

/** One file, or as many as the input has; parts that pruning empties are left out. */
function layOut(
  outcomes: readonly Outcome[],
  items: readonly GgufItem[],
  alignment: number,
  options: GgufQuantizeOptions,
): Part[] {
  const groups = new Map<number, Outcome[]>([[0, []]]);
  for (const outcome of outcomes) {
    const shard = options.keepSplit ? outcome.tensor.source.shard : 0;
    const group = groups.get(shard);
    if (group === undefined) groups.set(shard, [outcome]);
    else group.push(outcome);
  }
  const parts = [...groups.keys()].sort((a, b) => a - b).map((shard) => groups.get(shard) ?? []);
  return parts.map((group, index) => {
    const first = index === 0;
    const split = parts.length === 1 ? [] : partItems(index, parts.length, outcomes.length);
    const places = placeGguf({
      name: parts.length === 1 ? options.fileName : partName(options.fileName, index, parts.length),
      metadata: first ? [...items, ...split] : split,
      tensors: group.map(({ tensor, type, content }) => ({
        name: tensor.name,
        shape: tensor.shape,
        type,
        content,
      })),
      // Only the first part has the model's keys, so only there can an alignment be told.
      alignment: first ? alignment : DEFAULT_ALIGNMENT,
    });
    return { file: places.file, tensors: placed(group, places, index) };
  });
}

function partName(fileName: string, index: number, count: number): string {
  const prefix = parseSplitName(fileName)?.prefix ?? fileName.replace(/\.gguf$/i, '');
  return splitName(prefix, index, count);
}

function placed(group: readonly Outcome[], places: GgufPlaces, file: number): PlannedGgufTensor[] {
  return group.map(({ tensor, type, reason, content, importance }, index) => ({
    name: tensor.name,
    source: tensor.source.name,
    shape: tensor.shape,
    from: tensor.source.type,
    to: type,
    fromBytes: tensor.source.data.length,
    toBytes: places.lengths[index]!,
    reason,
    task: content.kind === 'task' && type !== tensor.source.type ? content.task : undefined,
    importance,
    file,
    offset: places.offsets[index]!,
  }));
}

function pruningNotes(prune: readonly number[], layers: LayerNumbers | undefined): string[] {
  if (layers === undefined) return [];
  const pruned = new Set(layers.pruned);
  const absent = prune.filter((layer) => !pruned.has(layer));
  const left = `${layers.count} layers are left; the types follow the places that the layers had before.`;
  return absent.length === 0 ? [left] : [left, `There are no layers ${absent.join(', ')} to prune.`];
}

function outcomeNotes(
  outcomes: readonly Outcome[],
  decisions: readonly Decision[],
  guide: Guide | undefined,
): string[] {
  const notes: string[] = [];
  const unfit = decisions.filter(({ wanted }) => wanted !== undefined);
  if (unfit.length > 0) {
    const kinds = [...new Set(unfit.map(({ wanted, type }) => `${wanted} → ${type}`))].join(', ');
    notes.push(`${unfit.length} weights have rows that the wanted blocks do not divide: ${kinds}.`);
  }
  const integers = outcomes.filter(({ note }) => note === 'integers');
  if (integers.length > 0) notes.push(`${integers.length} tensors hold no floats and stay as they are.`);
  const without = outcomes.filter(
    ({ note, type, tensor: { source } }) =>
      note === 'no entry' &&
      isBlockType(type) &&
      BLOCK_TYPES[type].importance !== 'ignored' &&
      !isEmbedding(source.name) &&
      !isOutput(source.name),
  );
  if (guide !== undefined && without.length > 0) {
    const names = without.slice(0, 3).map(({ tensor }) => tensor.source.name);
    const more = without.length > names.length ? ` and ${without.length - names.length} more` : '';
    notes.push(`${guide.source.file} has no values for ${names.join(', ')}${more}: done without importance.`);
  }
  const unguided = decisions.find(
    ({ needsImportance }, index) => needsImportance && outcomes[index]?.importance !== true,
  );
  if (unguided !== undefined) {
    notes.push(
      `The work itself will want an importance matrix (--imatrix): ${unguided.type} is of no use without.`,
    );
  }
  return notes;
}

function missingImportance(tensor: string, type: GgmlType, guide: Guide | undefined): WhittleError {
  const message =
    guide === undefined
      ? 'so few bits are of no use without an importance matrix'
      : 'the importance matrix has no values for a weight that needs them';
  return new WhittleError('E_IMATRIX', message, {
    file: guide?.source.file,
    tensor,
    found: `${type} without importance`,
    hint:
      guide === undefined
        ? 'Give one with --imatrix, or choose a larger file type such as Q2_K or IQ3_S.'
        : 'Collect it over more text, name another type with --tensor-type, or choose a larger file type.',
  });
}

function alreadyQuantized(tensor: string, type: GgmlType): WhittleError {
  return new WhittleError('E_REQUANT', 'the weights are quantized already', {
    tensor,
    found: type,
    hint: 'Start from the f16 or f32 file, or accept the loss with --allow-requantize.',
  });
}
