/** Reads the line with one model file in onnxruntime-node, as an application would. */

import { InferenceSession, Tensor } from 'onnxruntime-node';
import { decode, type PlanarImage, type Reading } from './ocr.ts';

/** Loads `file`, reads `image` and releases the model again. */
export async function readLine(
  file: string,
  inputName: string,
  image: PlanarImage,
  keys: readonly string[],
): Promise<Reading> {
  const session = await InferenceSession.create(file, { logSeverityLevel: 3 });
  try {
    const [outputName = ''] = session.outputNames;
    const outputs = await session.run({ [inputName]: new Tensor('float32', image.values, image.shape) });
    const { data, dims } = outputs[outputName] ?? { data: [], dims: [] };
    if (!(data instanceof Float32Array)) throw new Error(`${file} answers no float32 tensor.`);
    return decode(data, dims, keys);
  } finally {
    await session.release();
  }
}
