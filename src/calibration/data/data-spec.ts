/**
 * What a data set is made of and how: plain descriptions, one member of a closed union for each source. `parseDataSpec`
 * (parse-data-spec.ts) tells from a path which one it is; `openDataset` (open-dataset.ts) opens it.
 */

import type { Shape } from '../../core/shape.ts';
import type { InputHints } from './graph-hints.ts';
import type { ImagePreparation } from './image-preparation.ts';

/** Windows of a text: `{ kind: 'text', file: 'calib.txt', tokenizer: 'model/tokenizer.json' }`. */
export interface TextSpec {
  readonly kind: 'text';
  readonly file: string;
  /** tokenizer.json, or the folder that holds it; tokenizer_config.json and config.json beside it are read where they are. */
  readonly tokenizer: string;
}

/** Inputs that are made up from their names, types and shapes. */
export interface SyntheticSpec {
  readonly kind: 'synthetic';
}

/** Rows keyed by input name, or columns; one JSON value, or one in each line. See json-rows.ts. */
export interface JsonSpec {
  readonly kind: 'json' | 'ndjson';
  readonly file: string;
  /** For texts in rows; as in `TextSpec`. */
  readonly tokenizer?: string | undefined;
}

/** One array for each input, the first axis counting the samples: `{ kind: 'npy', files: [{ input: 'x', file: 'x.npy' }] }`. */
export interface NpySpec {
  readonly kind: 'npy';
  /** `input` may be left out where the file is named after it, or where the model needs one input only. */
  readonly files: readonly { readonly file: string; readonly input?: string | undefined }[];
}

/** Arrays keyed by input name in one file, the first axis counting the samples. */
export interface ArchiveSpec {
  readonly kind: 'npz' | 'safetensors';
  readonly file: string;
}

/** Pictures, in the folder or in subfolders named after their classes. */
export interface ImagesSpec {
  readonly kind: 'images';
  readonly folder: string;
  /** A description, or the file that holds one: whittle's own, or a preprocessor_config.json. */
  readonly preparation?: ImagePreparation | string | undefined;
}

/** Code that yields batches; see module-batches.ts. */
export interface ModuleSpec {
  readonly kind: 'module';
  readonly file: string;
}

export type DataSpec = TextSpec | JsonSpec | NpySpec | ArchiveSpec | ImagesSpec | ModuleSpec | SyntheticSpec;

export interface DatasetOptions {
  /** Rows at most: windows of a text, images, lines. Default 64; 'all' takes what there is. */
  readonly samples?: number | 'all' | undefined;
  /** Rows of one run. Default 1, or what the model fixes. */
  readonly batch?: number | undefined;
  /** Of the choice of rows and of made-up inputs. Default 1. */
  readonly seed?: number | undefined;
  /**
   * Which rows, where there are more than `samples`: the first ones in their order, or a seeded choice. Default 'head' for text
   * and modules, 'random' for rows and images, which tend to lie sorted by class.
   */
  readonly start?: 'head' | 'random' | undefined;
  /** Tokens of a window of text. Default 256, or the model's limit where that is less. */
  readonly sequence?: number | undefined;
  /** Tokens of the model's vocabulary: greater ids are refused. Default: what `hints` says of the input. */
  readonly vocabulary?: number | undefined;
  /** What the graph tells of its inputs; see graphHints. */
  readonly hints?: InputHints | undefined;
  /** Input name → shape, where made-up inputs cannot guess it. */
  readonly shapes?: Readonly<Record<string, Shape>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

export const DEFAULT_SAMPLES = 64;
export const DEFAULT_SEQUENCE = 256;
