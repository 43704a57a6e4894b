/**
 * Opens GGUF files by path: models with all their parts, whichever of them is named, and importance matrices. Download caches
 * link their files, and a part's name comes from the user: so links are followed here.
 */

import { openFile } from '../../io/file-source.ts';
import { siblingFolder } from '../../io/sibling-folder.ts';
import type { ByteSource } from '../../io/source.ts';
import type { GgufModel } from './gguf.ts';
import { type OpenImatrixOptions, openImatrixSource } from './imatrix.ts';
import type { Imatrix } from './imatrix-types.ts';
import { type OpenGgufOptions, openGgufSource } from './open-source.ts';

/**
 * Opens a model by path or from a source. The model owns its sources from then on, also where opening fails.
 * @throws WhittleError for everything that is wrong with the file (docs/gguf.md lists the codes)
 */
export async function openGguf(
  input: string | ByteSource,
  options: OpenGgufOptions = {},
): Promise<GgufModel> {
  if (typeof input !== 'string') return openGgufSource(input, options);
  return openGgufSource(await openFile(input), {
    ...options,
    siblings: options.siblings ?? siblingFolder(input),
  });
}

/**
 * Opens an importance matrix by path or from a source, which it owns from then on, also where opening fails.
 * @throws WhittleError as `openImatrixSource`, and what opening a file throws
 */
export async function openImatrix(
  input: string | ByteSource,
  options: OpenImatrixOptions = {},
): Promise<Imatrix> {
  return openImatrixSource(typeof input === 'string' ? await openFile(input) : input, options);
}
