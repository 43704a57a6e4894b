/**
 * What a preparation is to the frame: an edit of a float model that leaves the function of the model unchanged. A pass reads and
 * writes initializers and nodes of the model that it is given, in place, and reports where it did what. Whether the function is
 * unchanged is not left to the pass: the frame runs the original beside the result (equivalence.ts).
 */

import type { Dataset } from '../../calibration/data/dataset.ts';
import type { DType } from '../../core/dtype.ts';
import type { RunOptions } from '../../core/progress.ts';
import type { GraphProto, ModelProto, TensorProto } from '../../formats/onnx/messages.ts';
import type { NameAllocator, OnnxModel } from '../../formats/onnx/model.ts';
import type { GridOf } from './grids.ts';

/** A copy of a model, with all constants as initializers, that a pass may edit. */
export interface EditableModel {
  /** Nodes and attributes may be edited in place; values go through `write`. */
  readonly proto: ModelProto;
  readonly graph: GraphProto;
  /** As the user named it. */
  readonly file: string;
  readonly uniqueName: NameAllocator;
  /** Initializer of the main graph with that name that nothing can replace from outside. */
  constant(name: string): TensorProto | undefined;
  /** Values of a float tensor as f32, to be changed freely. @throws WhittleError E_DTYPE for other types */
  read(tensor: TensorProto): Promise<Float32Array>;
  /**
   * Gives a float tensor other values, in its own type; its dims must fit.
   * @throws WhittleError E_NONFINITE where a finite value leaves the range of the type
   */
  write(tensor: TensorProto, values: Float32Array): Promise<void>;
  /** A new initializer of the main graph under a free name near `name`. */
  add(name: string, dims: readonly number[], values: Float32Array, dtype?: DType): Promise<TensorProto>;
  /** The model in its present state, for planning and for runs. */
  asModel(): OnnxModel;
}

export interface PassContext extends RunOptions {
  readonly model: EditableModel;
  /** As the user wrote it behind `=`. */
  readonly setting: string | undefined;
  readonly threads: number | undefined;
  /** What the model is run on. @throws WhittleError E_USAGE where none was given */
  dataset(): Promise<Dataset>;
  /** The grid on which the plan stores a weight; absent where there is no plan. */
  readonly gridOf: GridOf | undefined;
}

/** One place of the graph that a pass changed. */
export interface PreparedPlace {
  /** Name of a node or tensor. */
  readonly at: string;
  /** For people. */
  readonly what: string;
}

export interface PassReport {
  readonly pass: string;
  /** For people, one line: what was done in how many places. */
  readonly summary: string;
  readonly places: readonly PreparedPlace[];
}

export type PreparationPass = (context: PassContext) => Promise<Omit<PassReport, 'pass'>>;
