/**
 * A foreign engine that runs models, behind one interface: onnxruntime-node, onnxruntime-web. Adapters load their
 * engine when first used and say E_MISSING_PEER, with the command that installs it, where it is absent.
 */

import type { DType } from '../core/dtype.ts';
import type { RunOptions } from '../core/progress.ts';
import type { Shape } from '../core/shape.ts';

export interface RuntimeTensor {
  readonly dtype: DType;
  readonly shape: Shape;
  /** Little-endian elements; strings are not carried. */
  readonly data: Uint8Array;
}

export interface RuntimeValueInfo {
  readonly name: string;
  readonly dtype: DType;
  /** Number for a fixed dimension, name for a symbolic one, null for an unknown one. */
  readonly shape: readonly (number | string | null)[];
}

export interface RuntimeRunOptions extends RunOptions {
  /**
   * Buffers for outputs, by name. An engine that can writes there and gives the same tensor back; another one leaves them
   * alone: what `run` returns counts. A buffer may be an input of the same run where the graph allows (C of a Gemm).
   */
  readonly into?: ReadonlyMap<string, RuntimeTensor> | undefined;
}

export interface RuntimeSession {
  readonly inputs: readonly RuntimeValueInfo[];
  readonly outputs: readonly RuntimeValueInfo[];
  run(
    inputs: ReadonlyMap<string, RuntimeTensor>,
    options?: RuntimeRunOptions,
  ): Promise<Map<string, RuntimeTensor>>;
  close(): Promise<void>;
}

export interface RuntimeLoadOptions {
  /** 0 or absent: the engine's own default. */
  readonly threads?: number | undefined;
  /** Keep the graph as written (no fusion), as calibration needs. */
  readonly optimize?: boolean | undefined;
}

export interface Runtime {
  readonly name: 'onnxruntime-node' | 'onnxruntime-web';
  version(): Promise<string>;
  /** Loads a model file with its external data files beside it. E_RUNTIME with the engine's own message on refusal. */
  load(file: string, options?: RuntimeLoadOptions): Promise<RuntimeSession>;
}
