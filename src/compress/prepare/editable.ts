/**
 * A copy of an opened model that passes edit: the graph is copied, payloads are shared until they are written. Values that are
 * written stay in memory up to a limit, then go to temporary files (Spool), so a model of any size can be prepared.
 */

import { byteLength, type DType, isWeightDType, type WeightDType } from '../../core/dtype.ts';
import { elementCount, formatShape } from '../../core/shape.ts';
import { WhittleError } from '../../errors.ts';
import { dtypeOfNumber } from '../../formats/onnx/data-types.ts';
import type { Payload, TensorProto } from '../../formats/onnx/messages.ts';
import {
  cloneModel,
  findWeights,
  normalizeConstants,
  type OnnxModel,
  uniqueName,
} from '../../formats/onnx/model.ts';
import { rawTensor } from '../../formats/onnx/rewrite/build.ts';
import type { Kernels } from '../../kernels/index.ts';
import type { Spool } from '../solve/spool.ts';
import { floatReader } from '../stored-values.ts';
import type { EditableModel } from './pass.ts';

/** Values of at most this many bytes are held where they are written: not worth a file. */
const SMALL_BYTES = 64 * 1024;

/**
 * @param spool Holds written values; must live until the files are written.
 * @throws WhittleError E_NOT_A_MODEL where the model has no graph
 */
export function editableCopy(model: OnnxModel, kernels: Kernels, spool: Spool): EditableModel {
  const proto = cloneModel(model.proto);
  normalizeConstants(proto);
  const { graph } = proto;
  if (graph === undefined)
    throw new WhittleError('E_NOT_A_MODEL', 'the file holds no graph', { file: model.file });
  const allocate = uniqueName(proto);
  const inputs = new Set(graph.input.map(({ name }) => name));
  const prepared: OnnxModel = {
    ...model,
    proto,
    weights: () => findWeights(proto),
    // The original is closed by who opened it.
    close: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
  const typeOf = (tensor: TensorProto): WeightDType => {
    const dtype = dtypeOfNumber(tensor.dataType);
    if (dtype !== undefined && isWeightDType(dtype)) return dtype;
    throw new WhittleError('E_DTYPE', 'a preparation edits float tensors only', {
      file: model.file,
      tensor: tensor.name,
      found: dtype ?? `data type ${tensor.dataType ?? 0}`,
    });
  };
  const write: EditableModel['write'] = async (tensor, values) => {
    const bytes = encode(values, typeOf(tensor), kernels);
    const count = elementCount(tensor.dims) ?? Number.NaN;
    if (values.length !== count) {
      throw new WhittleError('E_TENSOR_SIZE', 'the values do not fill the tensor', {
        file: model.file,
        tensor: tensor.name,
        expected: `${formatShape(tensor.dims)}, ${count} values`,
        found: `${values.length} values`,
      });
    }
    if (bytes === undefined) {
      throw new WhittleError('E_NONFINITE', 'a prepared value is too large for the type of its tensor', {
        file: model.file,
        tensor: tensor.name,
        expected: `values that ${dtypeOfNumber(tensor.dataType) ?? ''} holds`,
        hint: 'Leave the preparation out, or prepare the model in float32.',
      });
    }
    setPayload(tensor, await keep(spool, bytes));
  };
  return {
    proto,
    graph,
    file: model.file,
    uniqueName: allocate,
    constant: (name) => (inputs.has(name) ? undefined : graph.initializer.find((one) => one.name === name)),
    async read(tensor) {
      const values = new Float32Array(elementCount(tensor.dims) ?? 0);
      const read = await floatReader(prepared, tensor, typeOf(tensor), kernels);
      await read(0, values);
      return values;
    },
    write,
    async add(name, dims, values, dtype: DType = 'f32') {
      const tensor = rawTensor(allocate(name), dtype, dims, new Uint8Array(0));
      await write(tensor, values);
      graph.initializer.push(tensor);
      return tensor;
    },
    asModel: () => prepared,
  };
}

/** Undefined where a finite value would not be finite in `dtype`. */
function encode(values: Float32Array, dtype: WeightDType, kernels: Kernels): Uint8Array | undefined {
  const copy = values.slice();
  const bytes = new Uint8Array(copy.buffer);
  if (dtype === 'f32') return bytes;
  const raw = new Uint8Array(byteLength(dtype, values.length));
  if (dtype === 'f64') {
    new Float64Array(raw.buffer).set(values);
    return raw;
  }
  kernels.convert('f32', dtype, bytes, raw, values.length);
  const back = new Float32Array(values.length);
  kernels.convert(dtype, 'f32', raw, new Uint8Array(back.buffer), values.length);
  return back.every((value, i) => Number.isFinite(value) || !Number.isFinite(values[i]!)) ? raw : undefined;
}

async function keep(spool: Spool, bytes: Uint8Array): Promise<Payload> {
  if (bytes.length <= SMALL_BYTES) return { kind: 'inline', bytes };
  const segment = (await spool.keep(new Map([['data', bytes] as const]))).get('data');
  if (segment?.kind !== 'copy') return { kind: 'inline', bytes };
  const { source, sourceOffset, length } = segment;
  return { kind: 'range', source, offset: sourceOffset, length };
}

function setPayload(tensor: TensorProto, payload: Payload): void {
  tensor.rawData = payload;
  tensor.floatData = undefined;
  tensor.doubleData = undefined;
  tensor.int32Data = undefined;
  tensor.externalData = [];
  tensor.dataLocation = undefined;
}
