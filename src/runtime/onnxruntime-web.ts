/**
 * Runs models in onnxruntime-web on its WebAssembly backend, in Node as in browsers: what a page will do, proved at the desk.
 * An optional peer, imported when a model is first loaded. The engine wants the model and its external data as buffers;
 * in Node they are read from the model's folder: files named `<model>_data`, `<model>_data_1` … and `<model>.data`, or the
 * names that `dataFiles` returns. In a browser use `loadBytes`.
 */

import { WhittleError } from '../errors.ts';
import {
  engineError,
  loadError,
  type MakeTensor,
  sessionOptions,
  wrapSession,
} from './onnxruntime-tensors.ts';
import type { Runtime, RuntimeLoadOptions, RuntimeSession } from './runtime.ts';

const NAME = 'onnxruntime-web';

export interface OnnxruntimeWeb extends Runtime {
  /** `data`: external data files by the location that the model names. */
  loadBytes(
    model: Uint8Array,
    data?: ReadonlyMap<string, Uint8Array>,
    options?: RuntimeLoadOptions & { readonly name?: string | undefined },
  ): Promise<RuntimeSession>;
}

export interface OnnxruntimeWebOptions {
  /** Bare names of the external data files of a model; default: by the naming rule above. */
  readonly dataFiles?: ((file: string) => Promise<readonly string[]>) | undefined;
}

async function engine() {
  try {
    return await import('onnxruntime-web');
  } catch (cause) {
    throw loadError(NAME, cause);
  }
}

/** Throws E_MISSING_PEER on first use where onnxruntime-web is absent, E_RUNTIME where it refuses a model. */
export function onnxruntimeWeb(settings: OnnxruntimeWebOptions = {}): OnnxruntimeWeb {
  const dataFiles = settings.dataFiles ?? siblingDataFiles;
  const loadBytes: OnnxruntimeWeb['loadBytes'] = async (model, data = new Map(), options = {}) => {
    const file = options.name ?? 'model';
    const { InferenceSession, Tensor, env } = await engine();
    const make: MakeTensor = (type, values, dims) => new Tensor(type, values, [...dims]);
    // Takes effect with the first session only. Node has no isolated pages: one thread there unless asked.
    env.wasm.numThreads =
      options.threads ?? (typeof document === 'undefined' ? 1 : (env.wasm.numThreads ?? 0));
    env.logLevel = 'fatal';
    try {
      const session = await InferenceSession.create(model, {
        ...sessionOptions(options),
        executionProviders: ['wasm'],
        externalData: [...data].map(([path, bytes]) => ({ path, data: bytes })),
      });
      return wrapSession(file, NAME, session, make);
    } catch (cause) {
      if (cause instanceof WhittleError) throw cause;
      throw engineError(`${NAME} refuses the model`, file, cause);
    }
  };
  return {
    name: NAME,
    async version() {
      const { env } = await engine();
      return env.versions.web ?? 'unknown';
    },
    loadBytes,
    async load(file, options = {}) {
      const { readFile } = await import('node:fs/promises');
      const { dirname, join } = await import('node:path');
      const read = async (path: string): Promise<Uint8Array> => {
        try {
          return await readFile(path);
        } catch (cause) {
          throw engineError(`${NAME} needs the whole file in memory, and it cannot be read`, path, cause);
        }
      };
      const data = new Map<string, Uint8Array>();
      for (const name of await dataFiles(file)) data.set(name, await read(join(dirname(file), name)));
      return loadBytes(await read(file), data, { ...options, name: file });
    },
  };
}

async function siblingDataFiles(file: string): Promise<string[]> {
  const { readdir } = await import('node:fs/promises');
  const { basename, dirname } = await import('node:path');
  const base = basename(file);
  const names = await readdir(dirname(file)).catch(() => []);
  return names.filter((name) => {
    const rest = name.startsWith(base) ? name.slice(base.length) : undefined;
    return rest !== undefined && /^(_data(_\d+)?|\.data)$/.test(rest);
  });
}
