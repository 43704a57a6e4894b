/**
 * Reads a solution file (solution-file.ts) strictly: what the JSON says is compared with the tensors, codes with their code book, and scales
 * must be finite. Weights are read one at a time.
 */

import type { StoredArray } from '../../calibration/data/array-rows.ts';
import { decodeText, isRecord, parseJsonText } from '../../calibration/data/read-text.ts';
import { readSafetensors } from '../../calibration/data/safetensors.ts';
import { byteLength, type DType } from '../../core/dtype.ts';
import { decodeFloat } from '../../core/floats.ts';
import { elementCount, formatShape, type Shape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import { type FileSource, openFile } from '../../io/file-source.ts';
import { NF4_LEVELS } from '../../numerics/encodings/codebooks.ts';
import { FP4 } from '../../numerics/stored-grid.ts';
import { groupsOf, parametersOf, storedBits, unpackCodes, unpackZeros, wordsOf } from './gptq-layout.ts';
import { damaged, HEAD, type StoredLayer, VERSION } from './solution-file.ts';
import type { CodedWeight } from './solve.ts';

/** The JSON is small beside the codes; this is that of half a million layers. */
const MAX_HEAD = 256 << 20;

export interface Solution extends AsyncDisposable {
  readonly file: string;
  readonly algorithm: string;
  readonly data?: string | undefined;
  /** By key of the weight. */
  readonly layers: ReadonlyMap<string, StoredLayer>;
  /** @throws WhittleError E_DATA, E_SHAPE, E_NONFINITE */
  read(layer: StoredLayer): Promise<CodedWeight>;
}

/** @throws WhittleError E_DATA (no solution, or one that contradicts itself), E_VERSION, E_TRUNCATED, E_SHAPE, E_NOT_FOUND, E_ACCESS */
export async function openSolution(file: string): Promise<Solution> {
  const arrays = await readSafetensors(file);
  const source = await openFile(file);
  try {
    const reader = { source, arrays };
    const head = await readHead(reader);
    return {
      file,
      ...head,
      read: (layer) => readLayer(reader, layer),
      [Symbol.asyncDispose]: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

interface Reader {
  readonly source: FileSource;
  readonly arrays: ReadonlyMap<string, StoredArray>;
}

async function readHead({
  source,
  arrays,
}: Reader): Promise<Pick<Solution, 'algorithm' | 'data' | 'layers'>> {
  const file = source.name;
  const stored = arrays.get(HEAD);
  if (stored === undefined || stored.dtype !== 'uint8') {
    throw new WhittleError('E_DATA', 'this is no file of solved weights', {
      file,
      expected: `the tensor ${HEAD}`,
      hint: 'Give the file that --save-solution wrote.',
    });
  }
  const size = elementCount(stored.shape) ?? 0;
  if (size > MAX_HEAD)
    throw new WhittleError('E_LIMIT', 'the description is too long', { file, tensor: HEAD });
  const bytes = new Uint8Array(size);
  await source.readInto(stored.offset, bytes);
  const head = parseJsonText(decodeText(bytes, file, stored.offset), file, HEAD);
  if (!isRecord(head)) throw damaged(file, HEAD, 'the description is no object');
  if (head.version !== VERSION) {
    throw new WhittleError('E_VERSION', 'the solution is of another version', {
      file,
      expected: String(VERSION),
      found: String(head.version),
      hint: 'Solve again with --save-solution.',
    });
  }
  const { algorithm, data, layers } = head;
  if (typeof algorithm !== 'string' || !Array.isArray(layers))
    throw damaged(file, HEAD, 'the description is not complete');
  const found = new Map<string, StoredLayer>();
  for (const entry of layers) {
    const layer = storedLayer(entry);
    if (layer === undefined) throw damaged(file, HEAD, 'a weight is not described', JSON.stringify(entry));
    if (found.has(layer.weight))
      throw new WhittleError('E_DUPLICATE', 'a weight was solved twice', { file, tensor: layer.weight });
    found.set(layer.weight, layer);
  }
  return { algorithm, ...(typeof data === 'string' && { data }), layers: found };
}

function storedLayer(entry: unknown): StoredLayer | undefined {
  if (!isRecord(entry)) return undefined;
  const { weight, name, source, outputs, inputs, groupSize, algorithm, errorBefore, errorAfter } = entry;
  if (typeof weight !== 'string' || typeof name !== 'string' || typeof source !== 'string') return undefined;
  if (!isCount(outputs) || !isCount(inputs) || !isCount(groupSize)) return undefined;
  if (!Number.isSafeInteger(outputs * inputs)) return undefined;
  if (typeof algorithm !== 'string') return undefined;
  // JSON has no Infinity: what cannot be a share is told as null.
  const share = (value: unknown): number => (typeof value === 'number' ? value : Number.POSITIVE_INFINITY);
  const filters = filtersOf(entry.filters);
  if (filters === undefined && entry.filters !== undefined) return undefined;
  const shared = { weight, name, source, outputs, inputs, groupSize, algorithm, ...(filters && { filters }) };
  const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined);
  const told = {
    errorBefore: share(errorBefore),
    errorAfter: share(errorAfter),
    damping: number(entry.damping),
    deadInputs: number(entry.deadInputs),
    rows: number(entry.rows),
  };
  const { codebook, bits, symmetric, zeroPoints } = entry;
  if (codebook === 'nf4' || codebook === 'fp4') return { ...shared, ...told, codebook };
  if (!isCount(bits) || bits < 2 || bits > 8 || typeof symmetric !== 'boolean') return undefined;
  if (zeroPoints !== 'integer' && zeroPoints !== 'real') return undefined;
  return { ...shared, ...told, bits, symmetric, zeroPoints };
}

function filtersOf(value: unknown): StoredLayer['filters'] {
  if (!isRecord(value)) return undefined;
  const { channels, places } = value;
  return isCount(channels) && isCount(places) ? { channels, places } : undefined;
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

async function readLayer(reader: Reader, layer: StoredLayer): Promise<CodedWeight> {
  return layer.codebook === undefined ? readGrid(reader, layer) : readCodebook(reader, layer, layer.codebook);
}

async function readGrid(reader: Reader, layer: StoredLayer): Promise<CodedWeight> {
  const { name, outputs, inputs, groupSize, bits = 8, symmetric = false } = layer;
  const width = storedBits(bits);
  const groups = groupsOf(layer);
  const words = await readPart(reader, `${name}.qweight`, 'int32', [wordsOf(inputs, width), outputs]);
  const codes = unpackCodes(unsigned(words), outputs, inputs, width);
  const top = 2 ** bits - 1;
  if (codes.some((code) => code > top))
    throw damaged(reader.source.name, `${name}.qweight`, `a code has more than ${bits} bits`);
  const exact = reader.arrays.has(`${name}.scales_f32`);
  const scales = await readFloats(
    reader,
    exact ? `${name}.scales_f32` : `${name}.scales`,
    exact ? 'f32' : 'f16',
    [groups, outputs],
  );
  const zeroPoints =
    layer.zeroPoints === 'real'
      ? parametersOf(await readFloats(reader, `${name}.zeros`, 'f32', [groups, outputs]), outputs)
      : unpackZeros(
          unsigned(await readPart(reader, `${name}.qzeros`, 'int32', [groups, wordsOf(outputs, width)])),
          outputs,
          groups,
          width,
        );
  if (layer.zeroPoints !== 'real' && zeroPoints.some((zero) => zero > top))
    throw damaged(reader.source.name, `${name}.qzeros`, `a zero point has more than ${bits} bits`);
  if (symmetric && zeroPoints.some((zero) => zero !== 2 ** (bits - 1)))
    throw damaged(reader.source.name, `${name}.qzeros`, 'a symmetric grid has its zero in the middle');
  return {
    outputs,
    inputs,
    bits,
    groupSize,
    symmetric,
    codes,
    scales: parametersOf(scales, outputs),
    zeroPoints,
  };
}

async function readCodebook(
  reader: Reader,
  { name, outputs, inputs, groupSize: blockSize }: StoredLayer,
  book: 'nf4' | 'fp4',
): Promise<CodedWeight> {
  const count = outputs * inputs;
  const packed = await readPart(reader, `${name}.weight`, 'uint8', [Math.ceil(count / 2), 1]);
  const codes = Uint8Array.from({ length: count }, (_, i) =>
    i % 2 === 0 ? packed[i >> 1]! >> 4 : packed[i >> 1]! & 15,
  );
  const scales = await readFloats(reader, `${name}.weight.absmax`, 'f32', [Math.ceil(count / blockSize)]);
  const levels = await readFloats(reader, `${name}.weight.quant_map`, 'f32', [16]);
  const expected = book === 'nf4' ? NF4_LEVELS : FP4;
  if (levels.some((level, code) => level !== expected[code]))
    throw damaged(reader.source.name, `${name}.weight.quant_map`, `this is not the code book ${book}`);
  return { outputs, inputs, levels: expected, blockSize, codes, scales };
}

async function readFloats(
  reader: Reader,
  name: string,
  dtype: 'f16' | 'f32',
  shape: Shape,
): Promise<Float32Array> {
  const bytes = await readPart(reader, name, dtype, shape);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = dtype === 'f16' ? 2 : 4;
  const values = Float32Array.from({ length: bytes.length / size }, (_, i) =>
    dtype === 'f16' ? decodeFloat('f16', view.getUint16(i * 2, true)) : view.getFloat32(i * 4, true),
  );
  const bad = values.find((value) => !Number.isFinite(value));
  if (bad === undefined) return values;
  throw new WhittleError('E_NONFINITE', 'a scale or zero point is not finite', {
    file: reader.source.name,
    tensor: name,
    found: String(bad),
  });
}

async function readPart(
  { source, arrays }: Reader,
  name: string,
  dtype: DType,
  shape: Shape,
): Promise<Uint8Array> {
  const stored = arrays.get(name);
  if (stored === undefined) throw damaged(source.name, name, 'a tensor is missing');
  if (stored.dtype !== dtype || stored.shape.join() !== shape.join()) {
    throw new WhittleError('E_SHAPE', 'a tensor is not of the shape that the file says', {
      file: source.name,
      tensor: name,
      expected: `${dtype} ${formatShape(shape)}`,
      found: `${stored.dtype} ${formatShape(stored.shape)}`,
    });
  }
  const bytes = new Uint8Array(byteLength(dtype, elementCount(shape) ?? 0));
  await source.readInto(stored.offset, bytes);
  return bytes;
}

function unsigned(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
