/**
 * Opens ONNX models from sources (open.ts: by path): recognises the file, scans it, checks it, and says where the bytes of each tensor are.
 *
 * Nothing of a weight is read before it is asked for, so that a model of any size opens in milliseconds. Everything
 * about the file is checked at opening except what needs data: external files are opened on first use.
 */

import { WhittleError } from '../../errors.ts';
import { siblingsFrom } from '../../io/siblings-location.ts';
import type { ByteSource, SiblingOpener } from '../../io/source.ts';
import type { TensorBytes } from '../layout.ts';
import { DEFAULT_LIMITS, type Limits } from '../limits.ts';
import { externalReference, isExternal } from './external.ts';
import { allTensors, validateGraphs } from './graph.ts';
import type { ModelProto, TensorProto } from './messages.ts';
import { assertOnnx } from './model-sniff.ts';
import { checkTensor, locateBytes, readBytes } from './model-tensors.ts';
import { versionNotes } from './model-versions.ts';
import { scanModel } from './scan.ts';
import { findWeights, type Weight } from './weights.ts';

export { encodeFile, encodeModel, type LayoutOptions, layoutModel } from './layout.ts';
export { cloneGraph, cloneModel, cloneNode, cloneTensor } from './model-clone.ts';
export {
  constantTensor,
  findWeights,
  isConstantNode,
  type Weight,
  type WeightUse,
} from './weights.ts';
export { type NameAllocator, normalizeConstants, pruneUnused, uniqueName } from './weights-normalize.ts';

export interface OnnxModel extends AsyncDisposable {
  /** As the user named it. */
  readonly file: string;
  readonly source: ByteSource;
  readonly proto: ModelProto;
  /** What the user should know: versions from the future, nodes out of order. */
  readonly notes: readonly string[];
  /** Whether the model, as read, keeps tensors in external data files. */
  readonly hasExternalData: boolean;
  weights(): Weight[];
  /** Where the raw little-endian bytes are. @throws WhittleError E_DTYPE, E_TENSOR_SIZE, E_EXTERNAL_… */
  tensorBytes(tensor: TensorProto): Promise<TensorBytes>;
  /** The raw little-endian bytes. @throws WhittleError as `tensorBytes`, and E_LIMIT past 2 GiB */
  readTensor(tensor: TensorProto): Promise<Uint8Array>;
  /** Compares the checksums that external data declares. @throws WhittleError E_CHECKSUM; E_UNSUPPORTED in a page */
  verifyChecksums(): Promise<void>;
  /** Closes the model and its data files. */
  close(): Promise<void>;
}

/** Digest of a whole source (the specification's checksum; no protection against an attacker). */
export type Sha1 = (source: ByteSource) => Promise<string>;

export interface OpenOptions {
  /** Opens external data. Default: the files in the folder of the model, where that is a path. */
  readonly siblings?: SiblingOpener | undefined;
  readonly limits?: Partial<Limits> | undefined;
  /** Accept external data behind symbolic and hard links (download caches); only for folders that you trust. */
  readonly followLinks?: boolean | undefined;
}

/**
 * Opens a model, which owns the source from then on, also where opening fails.
 * @param sha1 Hexadecimal SHA-1 of a source; without it checksums of external data cannot be compared.
 * @throws WhittleError for everything that is wrong with the file
 */
export async function openOnnxSource(
  source: ByteSource,
  options: Omit<OpenOptions, 'followLinks'> = {},
  sha1?: Sha1,
): Promise<OnnxModel> {
  const limits: Limits = { ...DEFAULT_LIMITS, ...options.limits };
  try {
    await assertOnnx(source);
    const proto = await scanModel(source, limits);
    const notes = checkModel(proto, source, limits);
    const siblings = options.siblings ?? siblingsFrom(new Map(), source.name);
    return createModel(source, proto, notes, siblings, limits, sha1);
  } catch (error) {
    await source.close();
    throw error instanceof WhittleError ? error.with({ file: source.name }) : error;
  }
}

function checkModel(proto: ModelProto, source: ByteSource, limits: Limits): string[] {
  const file = source.name;
  if (proto.graph === undefined) {
    throw new WhittleError('E_NOT_A_MODEL', 'the file holds no graph', {
      file,
      expected: 'an ONNX model',
      hint: 'Check that this is the model and not another protobuf file.',
    });
  }
  for (const tensor of allTensors(proto)) checkTensor(tensor, file, limits);
  return [...versionNotes(proto), ...validateGraphs(proto, file)];
}

function createModel(
  source: ByteSource,
  proto: ModelProto,
  notes: readonly string[],
  siblings: SiblingOpener,
  limits: Limits,
  sha1: Sha1 | undefined,
): OnnxModel {
  const file = source.name;
  const opened = new Map<string, Promise<ByteSource>>();
  const open = (location: string): Promise<ByteSource> => {
    let pending = opened.get(location);
    if (pending === undefined) {
      pending = siblings.open(location);
      opened.set(location, pending);
    }
    return pending;
  };
  let hasExternalData = false;
  for (const tensor of allTensors(proto)) hasExternalData ||= isExternal(tensor);
  const tensorBytes = async (tensor: TensorProto): Promise<TensorBytes> => {
    try {
      return await locateBytes(tensor, file, limits, open);
    } catch (error) {
      throw error instanceof WhittleError ? error.with({ file, tensor: tensor.name }) : error;
    }
  };
  const close = async (): Promise<void> => {
    await source.close();
    for (const pending of opened.values()) {
      // What could not be opened needs no closing; its error was given to who asked for it.
      const data = await pending.catch(() => undefined);
      await data?.close();
    }
    opened.clear();
  };
  return {
    file,
    source,
    proto,
    notes,
    hasExternalData,
    weights: () => findWeights(proto),
    tensorBytes,
    readTensor: async (tensor) => readBytes(await tensorBytes(tensor), tensor, file, limits),
    async verifyChecksums() {
      if (sha1 === undefined)
        throw new WhittleError('E_UNSUPPORTED', 'checksums are compared in Node only', { file });
      const known = new Map<string, string>();
      for (const tensor of allTensors(proto)) {
        if (!isExternal(tensor)) continue;
        const { location, checksum } = externalReference(tensor, file);
        if (checksum === undefined) continue;
        const found = known.get(location) ?? (await sha1(await open(location)));
        known.set(location, found);
        if (found !== checksum.toLowerCase()) throw checksumError(file, tensor, location, checksum, found);
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function checksumError(
  file: string,
  tensor: TensorProto,
  location: string,
  expected: string,
  found: string,
): WhittleError {
  return new WhittleError('E_CHECKSUM', 'a data file is not the one that the model was written with', {
    file,
    tensor: tensor.name,
    expected: `SHA-1 ${expected} of ${JSON.stringify(location)}`,
    found,
    hint: 'Download the model and its data again.',
  });
}
