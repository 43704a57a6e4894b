/**
 * Values of a model for each sample, from one run over the data to the next: in memory up to a limit, then in temporary files. What comes
 * back has the bytes that were put in.
 */

import { WhittleError } from '../../errors.ts';
import { type FileSource, openFile } from '../../io/file-source.ts';
import {
  createTemporaryFolder,
  type TemporaryFile,
  type TemporaryFolder,
} from '../../io/temporary-folder.ts';
import type { RuntimeTensor } from '../../runtime/runtime.ts';

/** One value, sample by sample. */
export interface ValueSeries extends AsyncDisposable {
  readonly first: RuntimeTensor | undefined;
  readonly count: number;
  add(tensor: RuntimeTensor): Promise<void>;
  get(sample: number): Promise<RuntimeTensor>;
}

export interface PrefixStore extends AsyncDisposable {
  series(): ValueSeries;
}

/** Bytes that stay in memory; more goes to files. */
const HELD_BYTES = 512 * 1024 * 1024;

type Place =
  | { readonly tensor: RuntimeTensor }
  | { readonly like: Omit<RuntimeTensor, 'data'>; readonly offset: number; readonly length: number };

export function createPrefixStore(heldBytes = HELD_BYTES): PrefixStore {
  let folder: TemporaryFolder | undefined;
  let held = 0;
  let files = 0;
  return {
    series() {
      const places: Place[] = [];
      let first: RuntimeTensor | undefined;
      let file: TemporaryFile | undefined;
      let path = '';
      let reader: FileSource | undefined;
      let written = 0;
      let own = 0;
      return {
        get first() {
          return first;
        },
        get count() {
          return places.length;
        },
        async add(tensor) {
          first ??= tensor;
          const { length } = tensor.data;
          if (held + length <= heldBytes) {
            held += length;
            own += length;
            places.push({ tensor });
            return;
          }
          folder ??= await createTemporaryFolder();
          if (file === undefined) {
            const name = `${files++}.values`;
            file = await folder.create(name, 0);
            path = folder.path(name);
          }
          await file.write(written, tensor.data);
          const { dtype, shape } = tensor;
          places.push({ like: { dtype, shape }, offset: written, length });
          written += length;
        },
        async get(sample) {
          const place = places[sample];
          if (place === undefined) throw changed();
          if ('tensor' in place) return place.tensor;
          // All is written by the first time that something is read.
          reader ??= await openFile(path);
          const data = new Uint8Array(place.length);
          await reader.readInto(place.offset, data);
          return { ...place.like, data };
        },
        async [Symbol.asyncDispose]() {
          held -= own;
          own = 0;
          places.length = 0;
          await file?.[Symbol.asyncDispose]();
          await reader?.close();
          file = undefined;
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await folder?.remove();
    },
  };
}

function changed(): WhittleError {
  return new WhittleError('E_DATA', 'the data set gave more samples than the time before', {
    hint: 'It must give the same samples each time it is walked.',
  });
}
