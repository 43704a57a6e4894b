/**
 * What a page has in its hands as a `ByteSource`: a chosen or dropped file, several of them (parts of a split model, a model with
 * its data files), or bytes from anywhere else.
 */

import { isWhittleError, WhittleError } from '../errors.ts';
import type { GgufModel } from '../formats/gguf/gguf.ts';
import { openImatrixSource } from '../formats/gguf/imatrix.ts';
import type { Imatrix } from '../formats/gguf/imatrix-types.ts';
import { type OpenGgufOptions, openGgufSource } from '../formats/gguf/open-source.ts';
import { type OnnxModel, type OpenOptions, openOnnxSource } from '../formats/onnx/model.ts';
import { blobSource } from '../io/blob-source.ts';
import { siblingsFrom } from '../io/siblings-location.ts';
import type { ByteSource, SiblingOpener } from '../io/source.ts';

/** A `File` brings its name; a `Blob` has none. */
export type Input = Blob | ByteSource;

export function sourceOf(input: Input): ByteSource {
  if (!(input instanceof Blob)) return input;
  return blobSource(input, input instanceof File ? input.name : undefined);
}

/**
 * Opens a GGUF model. Nothing but its head is read; closing it is not needed for Blobs.
 * @param input The file; of a split model any part first, then all the others, in any order.
 * @throws WhittleError as `openGguf` of `whittle`
 */
export async function openGguf(
  input: Input | readonly Input[],
  options: Omit<OpenGgufOptions, 'siblings'> = {},
): Promise<GgufModel> {
  const { first, siblings } = withSiblings(input);
  return openGgufSource(first, { ...options, siblings });
}

/**
 * Opens an ONNX model. Weights are read when they are needed.
 * @param input The file; where it has external data, the data files after it.
 * @throws WhittleError as `openOnnx` of `whittle`
 */
export async function openOnnx(
  input: Input | readonly Input[],
  options: Omit<OpenOptions, 'siblings' | 'followLinks'> = {},
): Promise<OnnxModel> {
  const { first, siblings } = withSiblings(input);
  return openOnnxSource(first, { ...options, siblings });
}

/** Opens an importance matrix in either form. @throws WhittleError as `openImatrix` of `whittle` */
export async function openImatrix(input: Input): Promise<Imatrix> {
  return openImatrixSource(sourceOf(input));
}

function withSiblings(input: Input | readonly Input[]): { first: ByteSource; siblings: SiblingOpener } {
  const [first, ...others] = (isList(input) ? input : [input]).map(sourceOf);
  if (first === undefined) throw new WhittleError('E_USAGE', 'no file was given');
  return { first, siblings: siblingsFrom(new Map(others.map((one) => [one.name, one])), first.name) };
}

function isList(input: Input | readonly Input[]): input is readonly Input[] {
  return Array.isArray(input);
}

/** A `Blob` has no name, and messages call it `<blob>`; a source of the caller may be named by a path. */
export function bareName(file: string, unnamed: string): string {
  const bare = file.split('/').at(-1) ?? '';
  return bare === '' || bare.startsWith('<') ? unnamed : bare;
}

/** A tensor's error that names no file is one of the model. */
export function nameModel(error: unknown, file: string): unknown {
  return isWhittleError(error) && error.details.tensor !== undefined ? error.with({ file }) : error;
}
