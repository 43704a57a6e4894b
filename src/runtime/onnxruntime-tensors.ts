/**
 * What onnxruntime-node and onnxruntime-web have in common: both speak the interface of onnxruntime-common. This file turns
 * its tensors, value metadata and errors into ours and back; the adapters beside it only load the engine and open the model.
 *
 * The engine's JavaScript interface carries float32/64/16, every integer from 8 to 64 bits, int4/uint4 and bool. Strings are
 * refused, and so are bfloat16 and float8, which it cannot represent.
 */

import { byteLength, type DType } from '../core/dtype.ts';
import { elementCount, formatShape, type Shape } from '../core/shape.ts';
import { WhittleError } from '../errors.ts';
import type { RuntimeRunOptions, RuntimeSession, RuntimeTensor, RuntimeValueInfo } from './runtime.ts';

/** The engine's name of a type ↔ ours, and the array that its constructor wants. */
const TYPES = [
  ['float32', 'f32', Float32Array],
  ['float64', 'f64', Float64Array],
  ['float16', 'f16', Uint16Array],
  ['int64', 'int64', BigInt64Array],
  ['int32', 'int32', Int32Array],
  ['int16', 'int16', Int16Array],
  ['int8', 'int8', Int8Array],
  ['int4', 'int4', Uint8Array],
  ['uint64', 'uint64', BigUint64Array],
  ['uint32', 'uint32', Uint32Array],
  ['uint16', 'uint16', Uint16Array],
  ['uint8', 'uint8', Uint8Array],
  ['uint4', 'uint4', Uint8Array],
  ['bool', 'bool', Uint8Array],
] as const;

type EngineType = (typeof TYPES)[number][0];
type EngineArray = InstanceType<(typeof TYPES)[number][2]>;

/** The part of the engines' interface that is used. */
export interface EngineTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
  dispose(): void;
}

export interface EngineValueInfo {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type?: string;
  readonly shape?: ReadonlyArray<number | string>;
}

export interface EngineSession {
  readonly inputMetadata: readonly EngineValueInfo[];
  readonly outputMetadata: readonly EngineValueInfo[];
  /** Fetches every output of one run, or those named: null, or the tensor that is to be filled. */
  run(feeds: Record<string, EngineTensor>): Promise<Readonly<Record<string, EngineTensor>>>;
  run(
    feeds: Record<string, EngineTensor>,
    fetches: Record<string, EngineTensor | null>,
  ): Promise<Readonly<Record<string, EngineTensor>>>;
  release(): Promise<void>;
}

export type MakeTensor = (type: EngineType, data: EngineArray, dims: readonly number[]) => EngineTensor;

/** Options for every session: silent (the messages come back as errors), threads, fusion on or off. */
export function sessionOptions(options: { threads?: number | undefined; optimize?: boolean | undefined }): {
  logSeverityLevel: 4;
  intraOpNumThreads?: number;
  graphOptimizationLevel: 'all' | 'disabled';
} {
  return {
    logSeverityLevel: 4,
    ...(options.threads ? { intraOpNumThreads: options.threads } : {}),
    graphOptimizationLevel: options.optimize === false ? 'disabled' : 'all',
  };
}

/** Same value as the engine's `feeds`: E_UNSUPPORTED for a type it has no array for, E_SHAPE where bytes and shape disagree. */
export function toEngineTensor(name: string, tensor: RuntimeTensor, make: MakeTensor): EngineTensor {
  const row = TYPES.find(([, dtype]) => dtype === tensor.dtype);
  if (row === undefined) {
    throw new WhittleError(
      'E_UNSUPPORTED',
      `onnxruntime's JavaScript interface cannot carry ${tensor.dtype}`,
      {
        tensor: name,
      },
    );
  }
  const count = elementCount(tensor.shape);
  const expected = count === undefined ? Number.NaN : byteLength(tensor.dtype, count);
  if (tensor.data.length !== expected) {
    throw new WhittleError('E_SHAPE', `input ${name} does not fill its shape`, {
      tensor: name,
      expected: `${expected} bytes for ${tensor.dtype} ${formatShape(tensor.shape)}`,
      found: `${tensor.data.length} bytes`,
    });
  }
  const [type, , ArrayType] = row;
  const size = ArrayType.BYTES_PER_ELEMENT;
  // The engine reads typed arrays: an unaligned view has to move.
  const bytes = tensor.data.byteOffset % size === 0 ? tensor.data : tensor.data.slice();
  return make(type, new ArrayType(asArrayBuffer(bytes), bytes.byteOffset, bytes.length / size), tensor.shape);
}

function asArrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return bytes.buffer instanceof ArrayBuffer ? bytes.buffer : bytes.slice().buffer;
}

/** The bytes are copied: the engine may free or reuse its own. */
export function fromEngineTensor(name: string, tensor: EngineTensor): RuntimeTensor {
  const row = TYPES.find(([type]) => type === tensor.type);
  if (row === undefined || !ArrayBuffer.isView(tensor.data)) {
    throw new WhittleError(
      'E_UNSUPPORTED',
      `the runtime returned a ${tensor.type} tensor, which is not carried`,
      {
        tensor: name,
      },
    );
  }
  const { buffer, byteOffset, byteLength: length } = tensor.data;
  return {
    dtype: row[1],
    shape: [...tensor.dims],
    data: new Uint8Array(buffer, byteOffset, length).slice(),
  };
}

/** Values that are no tensors (sequences, maps) are E_UNSUPPORTED: no input can be made for them. */
export function toValueInfo(info: EngineValueInfo): RuntimeValueInfo {
  const dtype = TYPES.find(([type]) => type === info.type)?.[1] ?? unknownType(info);
  return { name: info.name, dtype, shape: (info.shape ?? []).map(dimension) };
}

function unknownType(info: EngineValueInfo): DType {
  if (info.isTensor && info.type === 'string') return 'string';
  throw new WhittleError(
    'E_UNSUPPORTED',
    `the model's ${info.name} is ${info.type ?? 'not a tensor'}, which is not carried`,
    {
      tensor: info.name,
    },
  );
}

/** A dimension without name and value arrives as "" (node), or as -1 read as unsigned (web). */
function dimension(dim: number | string): number | string | null {
  if (typeof dim === 'string') return dim === '' ? null : dim;
  return dim < 0 || dim >= 0xffff_ffff ? null : dim;
}

/**
 * The session of either engine behind our interface. `file` names the model in errors.
 * @param fillsOutputs The engine writes outputs into tensors that it is given.
 */
export function wrapSession(
  file: string,
  engine: string,
  session: EngineSession,
  make: MakeTensor,
  fillsOutputs = false,
): RuntimeSession {
  let open = true;
  return {
    inputs: session.inputMetadata.map(toValueInfo),
    outputs: session.outputMetadata.map(toValueInfo),
    async run(inputs: ReadonlyMap<string, RuntimeTensor>, options: RuntimeRunOptions = {}) {
      throwIfAborted(options.signal);
      const feeds: Record<string, EngineTensor> = Object.create(null);
      for (const [name, tensor] of inputs) feeds[name] = toEngineTensor(name, tensor, make);
      const into = new Map<string, RuntimeTensor>();
      const fetches: Record<string, EngineTensor | null> = Object.create(null);
      for (const { name } of session.outputMetadata) {
        const target = fillsOutputs ? options.into?.get(name) : undefined;
        const made = target === undefined ? undefined : toEngineTensor(name, target, make);
        fetches[name] = made ?? null;
        // An unaligned buffer was copied: it would not be filled.
        if (
          target !== undefined &&
          ArrayBuffer.isView(made?.data) &&
          made.data.buffer === target.data.buffer
        ) {
          into.set(name, target);
        }
      }
      let results: Readonly<Record<string, EngineTensor>>;
      try {
        results = await (into.size === 0 ? session.run(feeds) : session.run(feeds, fetches));
      } catch (cause) {
        throw engineError(`${engine} failed to run the model`, file, cause);
      }
      throwIfAborted(options.signal);
      const outputs = new Map<string, RuntimeTensor>();
      for (const { name } of session.outputMetadata) {
        const tensor = results[name];
        if (tensor === undefined) continue;
        outputs.set(name, into.get(name) ?? fromEngineTensor(name, tensor));
        tensor.dispose();
      }
      return outputs;
    },
    async close() {
      if (!open) return;
      open = false;
      await session.release();
    },
  };
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new WhittleError('E_ABORTED', 'stopped');
}

/** E_RUNTIME with the engine's own words. */
export function engineError(message: string, file: string, cause: unknown): WhittleError {
  const found = cause instanceof Error ? cause.message : String(cause);
  return new WhittleError('E_RUNTIME', message, { file, found: found.slice(0, 2000), cause });
}

/** What `import()` of an optional engine failed with: absent (how to install it), or present and broken. */
export function loadError(
  engine: string,
  cause: unknown,
  purpose = 'it runs the models that are compared',
): WhittleError {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') {
    return new WhittleError('E_MISSING_PEER', `${engine} is not installed; ${purpose}`, {
      hint: `install it beside whittle: npm install ${engine}${engine.startsWith('onnxruntime') ? ' (or leave the proof out with --no-verify)' : ''}`,
      cause,
    });
  }
  return new WhittleError('E_RUNTIME', `${engine} is installed but does not load`, {
    found: cause instanceof Error ? cause.message : String(cause),
    hint: `reinstall it: npm install ${engine}`,
    cause,
  });
}

/** Shape of a value whose dimensions are all numbers, else undefined. */
export function fixedShape(info: RuntimeValueInfo): Shape | undefined {
  const shape: number[] = [];
  for (const dim of info.shape) {
    if (typeof dim !== 'number') return undefined;
    shape.push(dim);
  }
  return shape;
}
