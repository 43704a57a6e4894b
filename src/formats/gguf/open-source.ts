/**
 * Opens GGUF models from sources: one file, or all parts of a split one, whichever of them is given. Nothing but the heads is
 * read, so that a model of any size opens at once. Nothing here needs Node; open.ts opens by path.
 *
 * The names of the other parts follow from the name that was given, never from what stands in the file.
 */

import { WhittleError } from '../../errors.ts';
import type { ByteSource, SiblingOpener } from '../../io/source.ts';
import { DEFAULT_LIMITS, type Limits } from '../limits.ts';
import { readArray } from './arrays.ts';
import type { GgufEntry, GgufModel } from './gguf.ts';
import { assertGguf } from './model-sniff.ts';
import { ALIGNMENT_KEY, type GgufHead, readHead } from './reader.ts';
import { parseSplitName, SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS, splitName } from './split-names.ts';

export interface OpenGgufOptions {
  readonly limits?: Partial<Limits> | undefined;
  /** Opens the other parts of a split model by bare name. Default: the folder of the model, where it is opened by path. */
  readonly siblings?: SiblingOpener | undefined;
}

interface Part {
  readonly source: ByteSource;
  readonly head: GgufHead;
}

/**
 * Opens a model. It owns its sources from then on, also where opening fails.
 * @throws WhittleError for everything that is wrong with the file (docs/gguf.md lists the codes)
 */
export async function openGgufSource(given: ByteSource, options: OpenGgufOptions = {}): Promise<GgufModel> {
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  const sources: ByteSource[] = [given];
  try {
    const head = await readPart(given, limits, 0);
    const count = splitCount(head, given.name);
    if (count <= 1) return createModel([{ source: given, head }], limits);
    const parts = await openParts({ source: given, head }, count, options.siblings, limits, sources);
    assertParts(parts);
    return createModel(parts, limits);
  } catch (error) {
    for (const source of sources) await source.close();
    throw error;
  }
}

async function readPart(source: ByteSource, limits: Limits, shard: number): Promise<GgufHead> {
  await assertGguf(source);
  try {
    return await readHead(source, limits, shard);
  } catch (error) {
    throw error instanceof WhittleError ? error.with({ file: source.name }) : error;
  }
}

/** Parts that the file says its model has; 1 where it says nothing. */
function splitCount(head: GgufHead, file: string): number {
  return wholeNumber(head.metadata.get(SPLIT_COUNT), file) ?? 1;
}

function wholeNumber(entry: GgufEntry | undefined, file: string): number | undefined {
  if (entry === undefined) return undefined;
  const value = entry.type === 'array' ? undefined : Number(entry.value);
  if (value !== undefined && Number.isSafeInteger(value) && value >= 0 && value <= 65535) return value;
  throw splitError(file, `"${entry.key}" is not a number of parts`, {
    offset: entry.record.offset,
    expected: '0 to 65535',
    found: entry.type === 'array' ? 'an array' : String(entry.value).slice(0, 80),
  });
}

async function openParts(
  given: Part,
  count: number,
  siblings: SiblingOpener | undefined,
  limits: Limits,
  sources: ByteSource[],
): Promise<Part[]> {
  const file = given.source.name;
  const own = wholeNumber(given.head.metadata.get(SPLIT_NO), file);
  const named = parseSplitName(file);
  if (named === undefined || named.count !== count || named.index !== own) {
    throw splitError(file, 'the name of the file does not say which part of its model it is', {
      expected:
        own === undefined ? `the key "${SPLIT_NO}"` : JSON.stringify(splitName('<model>', own, count)),
      found: JSON.stringify(bareName(file)),
      hint: `It is part ${own === undefined ? '?' : own + 1} of ${count}. Give the parts the names that they were published with.`,
    });
  }
  if (siblings === undefined) {
    throw splitError(file, `this is part ${own + 1} of ${count}; the other parts were not given`, {
      hint: 'Give all parts: by path, or with the option "siblings".',
    });
  }
  const prefix = bareName(named.prefix);
  const parts: Part[] = [];
  for (let index = 0; index < count; index++) {
    if (index === own) {
      parts.push({ ...given, head: withShard(given.head, index) });
      continue;
    }
    const source = await openSibling(siblings, splitName(prefix, index, count), file, index, count);
    sources.push(source);
    const head = await readPart(source, limits, index);
    assertPart(head, source.name, index, count);
    parts.push({ source, head });
  }
  return parts;
}

function withShard(head: GgufHead, shard: number): GgufHead {
  return { ...head, tensors: head.tensors.map((tensor) => ({ ...tensor, shard })) };
}

async function openSibling(
  siblings: SiblingOpener,
  name: string,
  file: string,
  index: number,
  count: number,
): Promise<ByteSource> {
  try {
    return await siblings.open(name);
  } catch (error) {
    if (!(error instanceof WhittleError)) throw error;
    if (error.code !== 'E_NOT_FOUND' && error.code !== 'E_EXTERNAL_MISSING') throw error;
    throw splitError(file, `part ${index + 1} of ${count} is missing`, {
      expected: JSON.stringify(name),
      found: 'no such file',
      hint: 'Download that part too, into the same folder.',
      cause: error,
    });
  }
}

function assertPart(head: GgufHead, file: string, index: number, count: number): void {
  const foundIndex = wholeNumber(head.metadata.get(SPLIT_NO), file);
  const foundCount = splitCount(head, file);
  if (foundIndex === index && foundCount === count) return;
  throw splitError(file, 'the file is not the part that its name says', {
    expected: `part ${index + 1} of ${count}`,
    found: foundIndex === undefined ? `no "${SPLIT_NO}"` : `part ${foundIndex + 1} of ${foundCount}`,
    hint: 'Download the part again.',
  });
}

/** What no single part can tell. @throws WhittleError E_SPLIT */
function assertParts(parts: readonly Part[]): void {
  const [first] = parts;
  if (first === undefined) return;
  const owners = new Map<string, string>();
  for (const { source, head } of parts) {
    if (head.version !== first.head.version) throw mixed(source.name, 'the versions of the parts differ');
    // Parts behind the first need not have the key: then they are laid out by the default.
    if (head.metadata.has(ALIGNMENT_KEY) && head.alignment !== first.head.alignment) {
      throw mixed(source.name, 'the alignments of the parts differ');
    }
    for (const { name } of head.tensors) {
      const owner = owners.get(name);
      if (owner !== undefined) {
        throw mixed(source.name, `the tensor ${JSON.stringify(name)} stands in two parts`, owner);
      }
      owners.set(name, source.name);
    }
    const architecture = scalarOf(head, 'general.architecture');
    if (architecture !== undefined && architecture !== scalarOf(first.head, 'general.architecture')) {
      throw mixed(source.name, 'the parts name different architectures', String(architecture));
    }
  }
  for (const { source, head } of parts) {
    const expected = scalarOf(head, SPLIT_TENSORS);
    if (expected === undefined || Number(expected) === owners.size) continue;
    throw mixed(
      source.name,
      `the part expects ${Number(expected)} tensors in the model`,
      `${owners.size} tensors`,
    );
  }
}

function scalarOf(head: GgufHead, key: string): number | bigint | boolean | string | undefined {
  const entry = head.metadata.get(key);
  return entry === undefined || entry.type === 'array' ? undefined : entry.value;
}

function mixed(file: string, message: string, found?: string): WhittleError {
  return splitError(file, message, {
    expected: 'parts of one model',
    found,
    hint: 'These files do not belong together. Download all parts again.',
  });
}

function splitError(
  file: string,
  message: string,
  details: ConstructorParameters<typeof WhittleError>[2],
): WhittleError {
  return new WhittleError('E_SPLIT', message, { file, ...details });
}

function bareName(path: string): string {
  return path.replace(/^.*[\\/]/s, '');
}

function createModel(parts: readonly Part[], limits: Limits): GgufModel {
  const [first] = parts;
  if (first === undefined) throw new WhittleError('E_SPLIT', 'the model has no parts');
  const { version, alignment, metadata } = first.head;
  const close = async (): Promise<void> => {
    for (const { source } of parts) await source.close();
  };
  const entry = (key: string): GgufEntry | undefined => metadata.get(key);
  const architecture = scalarOf(first.head, 'general.architecture');
  return {
    file: first.source.name,
    version,
    alignment,
    metadata: [...metadata.values()],
    tensors: parts.flatMap(({ head }) => head.tensors),
    sources: parts.map(({ source }) => source),
    bytes: parts.reduce((sum, { source }) => sum + source.size, 0),
    architecture: typeof architecture === 'string' ? architecture : undefined,
    notes: parts.flatMap(({ source, head }) =>
      head.notes.map((note) => (parts.length === 1 ? note : `${bareName(source.name)}: ${note}`)),
    ),
    entry,
    value(key) {
      const found = metadata.get(key);
      return found === undefined || found.type === 'array' ? undefined : found.value;
    },
    readArray: (array, from, count) => readArray(array, limits, from, count),
    close,
    [Symbol.asyncDispose]: close,
  };
}
