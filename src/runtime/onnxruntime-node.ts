/**
 * Runs models in onnxruntime-node, the native engine for Node. An optional peer: it is imported when a model is first loaded,
 * never before. External data is found by the engine itself, beside the model file.
 */

import { WhittleError } from '../errors.ts';
import {
  engineError,
  loadError,
  type MakeTensor,
  sessionOptions,
  wrapSession,
} from './onnxruntime-tensors.ts';
import type { Runtime } from './runtime.ts';

const NAME = 'onnxruntime-node';

async function engine() {
  try {
    return await import('onnxruntime-node');
  } catch (cause) {
    throw loadError(NAME, cause);
  }
}

/** Throws E_MISSING_PEER on first use where onnxruntime-node is absent, E_RUNTIME where it refuses a model. */
export function onnxruntimeNode(): Runtime {
  return {
    name: NAME,
    async version() {
      const { env } = await engine();
      return env.versions.node ?? 'unknown';
    },
    async load(file, options = {}) {
      const { InferenceSession, Tensor } = await engine();
      const make: MakeTensor = (type, data, dims) => new Tensor(type, data, [...dims]);
      try {
        const session = await InferenceSession.create(file, sessionOptions(options));
        return wrapSession(file, NAME, session, make, true);
      } catch (cause) {
        if (cause instanceof WhittleError) throw cause;
        throw engineError(`${NAME} refuses the model`, file, cause);
      }
    },
  };
}

/** Whether the engine can be imported here; loads it. */
export async function hasOnnxruntimeNode(): Promise<boolean> {
  try {
    await engine();
    return true;
  } catch {
    return false;
  }
}
