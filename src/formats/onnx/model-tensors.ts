/**
 * What must hold for every tensor before its bytes are touched, and where those bytes are.
 *
 * Checks made when a model is opened: rank, dimensions and element count in bounds, data in one place only, and the
 * length of embedded data equal to shape × type. A type that is not known makes no claim: such a tensor is kept as it
 * is until a job needs its values.
 */

import { byteLength, type DType } from '../../core/dtype.ts';
import { elementCount, formatShape } from '../../core/shape.ts';
import { type ErrorCode, WhittleError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import type { TensorBytes } from '../layout.ts';
import type { Limits } from '../limits.ts';
import { rawFromVarints, typedPayload } from './codec-typed.ts';
import { dtypeOfNumber } from './data-types.ts';
import { externalRange, externalReference, isExternal } from './external.ts';
import { type Payload, payloadLength, type TensorProto } from './messages.ts';
import { cursorOver } from './varints.ts';

/** Bytes of the tensor as raw data: shape × type. @throws WhittleError E_DTYPE for unknown types and strings */
export function tensorByteLength(tensor: TensorProto, file: string): number {
  return byteLength(requireDtype(tensor, file), elementCount(tensor.dims) ?? Number.NaN);
}

function requireDtype(tensor: TensorProto, file: string): DType {
  const dtype = dtypeOfNumber(tensor.dataType);
  if (dtype !== undefined && dtype !== 'string') return dtype;
  throw fault('E_DTYPE', 'the values of this type cannot be read', tensor, file, {
    expected: 'a numeric type of ONNX',
    found: dtype ?? `data type ${tensor.dataType ?? 0}`,
    hint: 'Leave this tensor out of the job.',
  });
}

/**
 * The checks that need no data.
 * @throws WhittleError E_SHAPE, E_LIMIT, E_TENSOR_SIZE, E_EXTERNAL_FIELD, E_EXTERNAL_PATH
 */
export function checkTensor(tensor: TensorProto, file: string, limits: Limits): void {
  const { dims } = tensor;
  if (dims.length > limits.rank) {
    throw fault('E_SHAPE', 'the tensor has too many dimensions', tensor, file, {
      expected: `at most ${limits.rank}`,
      found: String(dims.length),
    });
  }
  for (const dim of dims) {
    if (dim >= 0 && dim <= limits.dimension) continue;
    throw fault('E_SHAPE', 'the tensor has an impossible dimension', tensor, file, {
      expected: `0 to ${limits.dimension}`,
      found: String(dim),
    });
  }
  const count = elementCount(dims);
  if (count === undefined) {
    throw fault('E_SHAPE', 'the tensor has more elements than can be counted', tensor, file, {
      found: formatShape(dims),
    });
  }
  if (countFilled(tensor) > 1) {
    throw fault('E_TENSOR_SIZE', 'the tensor has its data twice', tensor, file, {
      expected: 'data in one field',
      found: filledFields(tensor).join(' and '),
    });
  }
  const dtype = dtypeOfNumber(tensor.dataType);
  if (isExternal(tensor)) {
    if (dtype === 'string') {
      throw fault('E_TENSOR_SIZE', 'texts cannot be external data', tensor, file, {});
    }
    externalReference(tensor, file);
  } else if (dtype === 'string') {
    checkStrings(tensor, file, count);
  } else if (dtype !== undefined) {
    checkEmbedded(tensor, file, dtype, count);
  }
}

function countFilled(tensor: TensorProto): number {
  const { rawData, floatData, int32Data, int64Data, doubleData, uint64Data } = tensor;
  const isFilled = (payload: Payload | undefined): number =>
    payload !== undefined && payloadLength(payload) > 0 ? 1 : 0;
  const typed = isFilled(floatData) + isFilled(int32Data) + isFilled(int64Data);
  const others = isFilled(rawData) + isFilled(doubleData) + isFilled(uint64Data);
  return typed + others + (tensor.stringData.length > 0 ? 1 : 0) + (isExternal(tensor) ? 1 : 0);
}

/** For the message of the error. */
function filledFields(tensor: TensorProto): string[] {
  const payloads: [string, Payload | undefined][] = [
    ['raw_data', tensor.rawData],
    ['float_data', tensor.floatData],
    ['int32_data', tensor.int32Data],
    ['int64_data', tensor.int64Data],
    ['double_data', tensor.doubleData],
    ['uint64_data', tensor.uint64Data],
  ];
  const names = payloads
    .filter(([, payload]) => payload !== undefined && payloadLength(payload) > 0)
    .map(([name]) => name);
  if (tensor.stringData.length > 0) names.push('string_data');
  if (isExternal(tensor)) names.push('external_data');
  return names;
}

function checkStrings(tensor: TensorProto, file: string, count: number): void {
  if (tensor.stringData.length === count) return;
  throw fault('E_TENSOR_SIZE', 'the tensor has not as many texts as its shape says', tensor, file, {
    expected: `${count} texts in string_data`,
    found: `${tensor.stringData.length}`,
  });
}

function checkEmbedded(tensor: TensorProto, file: string, dtype: DType, count: number): void {
  const needed = byteLength(dtype, count);
  const raw = tensor.rawData;
  if (raw !== undefined && payloadLength(raw) > 0) {
    if (payloadLength(raw) !== needed) throw sizeFault(tensor, file, needed, `${payloadLength(raw)} bytes`);
    return;
  }
  const typed = typedPayload(tensor, dtype);
  const length = typed === undefined ? 0 : payloadLength(typed.payload);
  const fits = typed?.isRaw === true ? length === needed : needed === 0 ? length === 0 : length > 0;
  if (!fits) throw sizeFault(tensor, file, needed, `${length} bytes for ${dtype}`);
}

function sizeFault(tensor: TensorProto, file: string, needed: number, found: string): WhittleError {
  return fault('E_TENSOR_SIZE', 'the data is not as long as shape and type say', tensor, file, {
    expected: `${needed} bytes (${formatShape(tensor.dims)})`,
    found,
  });
}

function fault(
  code: ErrorCode,
  message: string,
  tensor: TensorProto,
  file: string,
  details: { expected?: string; found?: string; hint?: string },
): WhittleError {
  const hint = 'The model is damaged. Export or download it again.';
  return new WhittleError(code, message, { file, tensor: tensor.name, hint, ...details });
}

/** Opens the data file of a tensor. */
export type OpenExternal = (location: string) => Promise<ByteSource>;

/**
 * Where the raw little-endian bytes of a tensor are; typed varint data is decoded into memory.
 * @throws WhittleError E_DTYPE, E_TENSOR_SIZE, E_LIMIT, E_PROTOBUF, E_EXTERNAL_…
 */
export async function locateBytes(
  tensor: TensorProto,
  file: string,
  limits: Limits,
  open: OpenExternal,
): Promise<TensorBytes> {
  const dtype = requireDtype(tensor, file);
  checkTensor(tensor, file, limits);
  const needed = tensorByteLength(tensor, file);
  if (isExternal(tensor)) {
    const reference = externalReference(tensor, file);
    return externalRange(tensor, reference, await open(reference.location), needed, file);
  }
  if (needed === 0) return { kind: 'inline', bytes: new Uint8Array(0) };
  if (tensor.rawData !== undefined && payloadLength(tensor.rawData) > 0)
    return readable(tensor.rawData, tensor, file);
  const typed = typedPayload(tensor, dtype);
  if (typed === undefined) throw sizeFault(tensor, file, needed, 'no data');
  const bytes = readable(typed.payload, tensor, file);
  if (typed.isRaw) return bytes;
  const varints = await readBytes(bytes, tensor, file, limits);
  const base = bytes.kind === 'range' ? bytes.offset : 0;
  const origin = { base, file, fileSize: Number.POSITIVE_INFINITY };
  const cursor = cursorOver(varints, 0, varints.length, origin);
  const raw = rawFromVarints(cursor, dtype, elementCount(tensor.dims) ?? 0);
  if (raw === undefined) throw sizeFault(tensor, file, needed, 'another number of values');
  return { kind: 'inline', bytes: raw };
}

function readable(payload: Payload, tensor: TensorProto, file: string): TensorBytes {
  if (payload.kind !== 'pending') return payload;
  throw fault('E_UNSUPPORTED', 'the values of this tensor are not computed yet', tensor, file, {
    hint: 'Read them from the written model.',
  });
}

/** Reads located bytes into memory. @throws WhittleError E_LIMIT where they are too many to hold at once */
export async function readBytes(
  bytes: TensorBytes,
  tensor: TensorProto,
  file: string,
  limits: Limits,
): Promise<Uint8Array> {
  if (bytes.kind === 'inline') return bytes.bytes;
  if (bytes.length > limits.tensorBytes) {
    throw fault('E_LIMIT', 'the tensor is too large to be held in memory at once', tensor, file, {
      expected: `at most ${limits.tensorBytes} bytes (limit "tensorBytes")`,
      found: `${bytes.length} bytes`,
      hint: 'Read it in pieces through tensorBytes().',
    });
  }
  const target = new Uint8Array(bytes.length);
  await bytes.source.readInto(bytes.offset, target);
  return target;
}
