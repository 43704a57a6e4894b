/**
 * Lays out the files of a model: what is embedded, what becomes external data, and where every byte goes, all known
 * before anything is computed.
 *
 * Data files are named as transformers.js looks for them: `<model>.onnx_data`, `_data_1` … `_data_99`, and `location` is
 * the bare name. Initializers of 1 KiB and more go there in the order of the model, none is split. Offsets are multiples of
 * 64 bytes (cache lines, SIMD loads), of 4096 from 1 MiB on (memory mapping by pages). A data file stays below 2·10⁹ bytes,
 * which every browser can hold in one ArrayBuffer. Weights that share bytes in the source share them in the output.
 */

import { byteLength } from '../../core/dtype.ts';
import { elementCount } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import type { OutputFile, Segment, TensorBytes } from '../layout.ts';
import { typedPayload } from './codec-typed.ts';
import { dtypeOfNumber } from './data-types.ts';
import { externalEntries, isExternal } from './external.ts';
import { allGraphs, allTensors, validateGraphs } from './graph.ts';
import { DATA_LOCATION, type ModelProto, type Payload, payloadLength, type TensorProto } from './messages.ts';
import { cloneModel } from './model-clone.ts';
import { MODEL } from './schema.ts';
import { encodedSize, encodeMessage, fillSegments, payloadSegment } from './writer.ts';

export interface LayoutOptions {
  /** Bare name of the model file, such as "model_q4.onnx". */
  readonly fileName: string;
  /** 'auto': where the model is too large for one file, or the source had external data. */
  readonly externalData: 'auto' | 'never' | 'always';
  readonly sourceHadExternal: boolean;
  /** A new data file is begun rather than exceed this. Bytes; default 2·10⁹. A larger tensor has a file for itself. */
  readonly maxExternalFileBytes?: number | undefined;
  /** Smaller tensors stay embedded. Bytes; default 1024. */
  readonly externalThreshold?: number | undefined;
  /** Multiple of which all offsets are, instead of 64 and 4096. Bytes. */
  readonly alignment?: number | undefined;
  /** Where the bytes of a tensor that is external in the source are: `model.tensorBytes`. */
  readonly resolve: (tensor: TensorProto) => Promise<TensorBytes>;
}

/** Larger models get external data: protobuf ends at 2 GiB, and some loaders copy the file. */
export const EMBED_LIMIT = 1.8 * 1024 ** 3;
/** No protobuf library reads more. */
const PROTOBUF_LIMIT = 2 ** 31 - 1;
const MAX_DATA_FILES = 100;
const MAX_DATA_BYTES = 2e9;
const EXTERNAL_THRESHOLD = 1024;
const PAGE_FROM = 1024 * 1024;

/**
 * The files that hold `proto`: the model first, then its data files. `proto` itself is not changed.
 * @throws WhittleError E_GRAPH and E_DUPLICATE (the graph is broken), E_UNSUPPORTED (embedding was demanded but is too
 *   large), E_LIMIT (more than 100 data files), and what `resolve` throws
 */
export async function layoutModel(proto: ModelProto, options: LayoutOptions): Promise<OutputFile[]> {
  validateGraphs(proto, options.fileName);
  const model = cloneModel(proto);
  const movedBefore = await embedExternal(proto, model, options);
  const size = encodedSize(MODEL, model);
  const wantsExternal =
    options.externalData === 'always' ||
    (options.externalData === 'auto' && (options.sourceHadExternal || size > EMBED_LIMIT));
  const dataFiles = wantsExternal ? moveToDataFiles(model, movedBefore, options) : [];
  const encoded = encodeMessage(MODEL, model);
  if (encoded.size > PROTOBUF_LIMIT) throw tooLarge(options, encoded.size);
  return [{ name: options.fileName, size: encoded.size, segments: encoded.segments }, ...dataFiles];
}

/** The model as one buffer, everything embedded; external tensors keep their reference. For tests and small models. */
export async function encodeModel(proto: ModelProto): Promise<Uint8Array> {
  const { size, segments } = encodeMessage(MODEL, proto);
  const bytes = new Uint8Array(size);
  await fillSegments(bytes, segments);
  return bytes;
}

/**
 * A laid-out file as one buffer.
 * @param part Bytes of the parts that tasks compute.
 */
export async function encodeFile(
  file: OutputFile,
  part?: (segment: Extract<Segment, { kind: 'part' }>) => Uint8Array,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(file.size);
  await fillSegments(bytes, file.segments, part);
  return bytes;
}

/** Turns external tensors of the copy into embedded ones, by reference; gives those tensors. */
async function embedExternal(
  proto: ModelProto,
  copy: ModelProto,
  options: LayoutOptions,
): Promise<ReadonlySet<TensorProto>> {
  const moved = new Set<TensorProto>();
  const originals = [...allTensors(proto)];
  for (const [index, tensor] of [...allTensors(copy)].entries()) {
    if (!isExternal(tensor)) continue;
    tensor.rawData = await options.resolve(originals[index]!);
    tensor.externalData = [];
    tensor.dataLocation = undefined;
    moved.add(tensor);
  }
  return moved;
}

/** Initializers of the main graph: every runtime loads these from data files. */
function mainInitializers(model: ModelProto): readonly TensorProto[] {
  return model.graph?.initializer ?? [];
}

/**
 * Initializers of subgraphs, and attributes that were external in the source. onnxruntime-web 1.30 does not find their
 * data ("external data path could not be canonicalized"), so they leave the model only where it is too large without.
 */
function otherMovable(model: ModelProto, movedBefore: ReadonlySet<TensorProto>): TensorProto[] {
  const inner = [...allGraphs(model)].slice(1).flatMap(({ graph }) => graph.initializer);
  const others = new Set([...inner, ...movedBefore]);
  for (const tensor of mainInitializers(model)) others.delete(tensor);
  return [...others];
}

interface DataFile {
  readonly name: string;
  size: number;
  readonly segments: Segment[];
}

interface Place {
  readonly file: DataFile;
  readonly offset: number;
}

function moveToDataFiles(
  model: ModelProto,
  movedBefore: ReadonlySet<TensorProto>,
  options: LayoutOptions,
): OutputFile[] {
  const files: DataFile[] = [];
  const places = createPlaces();
  moveTensors(mainInitializers(model), files, places, options);
  if (encodedSize(MODEL, model) > EMBED_LIMIT) {
    moveTensors(otherMovable(model, movedBefore), files, places, options);
  }
  return files;
}

function moveTensors(
  tensors: readonly TensorProto[],
  files: DataFile[],
  places: Places,
  options: LayoutOptions,
): void {
  const { externalThreshold = EXTERNAL_THRESHOLD, maxExternalFileBytes = MAX_DATA_BYTES } = options;
  for (const tensor of tensors) {
    const payload = rawPayload(tensor);
    if (payload === undefined) continue;
    const length = payloadLength(payload);
    if (length < Math.max(1, externalThreshold)) continue;
    let place = places.find(payload);
    if (place === undefined) {
      const alignment = options.alignment ?? (length >= PAGE_FROM ? 4096 : 64);
      let file = files.at(-1);
      let offset = file === undefined ? 0 : Math.ceil(file.size / alignment) * alignment;
      if (file === undefined || (file.size > 0 && offset + length > maxExternalFileBytes)) {
        file = { name: dataFileName(options.fileName, files.length), size: 0, segments: [] };
        files.push(file);
        offset = 0;
      }
      file.segments.push(payloadSegment(payload, offset));
      file.size = offset + length;
      place = { file, offset };
      places.add(payload, place);
    }
    tensor.rawData = undefined;
    tensor.floatData = undefined;
    tensor.doubleData = undefined;
    tensor.externalData = externalEntries(place.file.name, place.offset, length);
    tensor.dataLocation = DATA_LOCATION.external;
  }
}

/** The raw bytes of an embedded tensor, where they need no decoding and are all there. */
function rawPayload(tensor: TensorProto): Payload | undefined {
  const dtype = dtypeOfNumber(tensor.dataType);
  if (dtype === undefined || dtype === 'string') return undefined;
  const typed = typedPayload(tensor, dtype);
  const payload = tensor.rawData ?? (typed?.isRaw === true ? typed.payload : undefined);
  const needed = byteLength(dtype, elementCount(tensor.dims) ?? Number.NaN);
  return payload !== undefined && payloadLength(payload) === needed ? payload : undefined;
}

/** Name of the n-th data file of a model. @throws WhittleError E_LIMIT past the hundredth */
export function dataFileName(fileName: string, index: number): string {
  if (index < MAX_DATA_FILES) return index === 0 ? `${fileName}_data` : `${fileName}_data_${index}`;
  throw new WhittleError('E_LIMIT', 'the model needs too many data files', {
    file: fileName,
    expected: `at most ${MAX_DATA_FILES}, which is what transformers.js loads`,
    hint: 'Allow larger data files.',
  });
}

/** Where payloads were put, so that the same bytes are put once. */
interface Places {
  find(payload: Payload): Place | undefined;
  add(payload: Payload, place: Place): void;
}

function createPlaces(): Places {
  const inline = new Map<Uint8Array, Place>();
  const ranges = new Map<ByteSource, Map<string, Place>>();
  const parts = new Map<string, Place>();
  return {
    find(payload) {
      if (payload.kind === 'inline') return inline.get(payload.bytes);
      if (payload.kind === 'pending') return parts.get(`${payload.task} ${payload.role}`);
      return ranges.get(payload.source)?.get(`${payload.offset} ${payload.length}`);
    },
    add(payload, place) {
      if (payload.kind === 'inline') inline.set(payload.bytes, place);
      else if (payload.kind === 'pending') parts.set(`${payload.task} ${payload.role}`, place);
      else {
        const known = ranges.get(payload.source) ?? new Map<string, Place>();
        known.set(`${payload.offset} ${payload.length}`, place);
        ranges.set(payload.source, known);
      }
    },
  };
}

function tooLarge(options: LayoutOptions, size: number): WhittleError {
  return new WhittleError('E_UNSUPPORTED', 'the model does not fit into one file', {
    file: options.fileName,
    expected: `at most ${PROTOBUF_LIMIT} bytes, the limit of protobuf`,
    found: `${size} bytes`,
    hint: 'Allow external data.',
  });
}
