/**
 * How transformers.js names model files: `onnx/<session><suffix>.onnx`, one suffix per dtype.
 *
 * A session is one network of a model: `model`, `encoder_model`, `decoder_model_merged`, `vision_encoder`, …
 * The suffix says in which dtype its weights are; without one they are as exported. Modes that transformers.js has no dtype
 * for get suffixes of the same kind, so that their files are not taken for sessions; it loads them by `model_file_name`.
 * Data files stand beside a model as `<file>_data`, `<file>_data_1`, …
 *
 * Source: huggingface/transformers.js 4.3.1, src/utils/dtypes.js and src/utils/model-loader.js (Apache-2.0).
 */

/** dtype of transformers.js → suffix of the file. */
export const DTYPE_SUFFIXES = {
  fp32: '',
  fp16: '_fp16',
  int8: '_int8',
  uint8: '_uint8',
  q8: '_quantized',
  q4: '_q4',
  q2: '_q2',
  q1: '_q1',
  q4f16: '_q4f16',
  q2f16: '_q2f16',
  q1f16: '_q1f16',
  bnb4: '_bnb4',
} as const satisfies Record<string, string>;

export function isDtypeSuffix(suffix: string): boolean {
  return Object.values<string>(DTYPE_SUFFIXES).includes(suffix);
}

/** Suffixes of whittle's modes beyond those. */
const OTHER_SUFFIXES = ['_fp8', '_int4_qdq', '_int8_qdq'] as const;

const EXTENSION = '.onnx';

/** Most data files that transformers.js fetches for one model file. */
export const MAX_DATA_FILES = 100;

export interface ModelFileName {
  readonly session: string;
  /** `''` for the file as exported. */
  readonly suffix: string;
}

/**
 * `decoder_model_merged_q4f16.onnx` → session `decoder_model_merged`, suffix `_q4f16`; undefined where `name` is no ONNX
 * file name. `extraSuffixes`: those of the user's own recipes, with their underscore.
 */
export function splitFileName(
  name: string,
  extraSuffixes: readonly string[] = [],
): ModelFileName | undefined {
  if (!name.endsWith(EXTENSION) || name.length === EXTENSION.length) return undefined;
  const stem = name.slice(0, -EXTENSION.length);
  const known = [...Object.values(DTYPE_SUFFIXES), ...OTHER_SUFFIXES, ...extraSuffixes];
  const suffix = known
    .filter((candidate) => candidate !== '' && stem.length > candidate.length && stem.endsWith(candidate))
    .reduce((longest, candidate) => (candidate.length > longest.length ? candidate : longest), '');
  return { session: stem.slice(0, stem.length - suffix.length), suffix };
}

/** `_q4`; for a recipe without one, `_` and its name with everything but letters, digits, `-` and `_` replaced. */
export function suffixOf(recipe: { readonly name: string; readonly suffix?: string | undefined }): string {
  return recipe.suffix ?? `_${recipe.name.replace(/[^A-Za-z0-9_-]+/g, '_')}`;
}

/**
 * Name of the result of compressing `source` (a bare file name): `model.onnx` and `_q4` → `model_q4.onnx`. A known suffix
 * of the source is replaced, since transformers.js would not find `model_fp16_q4.onnx` under any dtype.
 */
export function outputName(source: string, suffix: string, extraSuffixes: readonly string[] = []): string {
  const session = splitFileName(source, extraSuffixes)?.session ?? source;
  return `${session}${suffix}${EXTENSION}`;
}

/** Bare names of the data files of a model file: `model.onnx_data`, `model.onnx_data_1`, … */
export function dataFileNames(fileName: string, count: number): string[] {
  return Array.from({ length: count }, (_, chunk) => `${fileName}_data${chunk === 0 ? '' : `_${chunk}`}`);
}
