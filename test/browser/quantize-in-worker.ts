/** A worker of the page, as docs/browser.md has it: quantizes the Blob that it is sent into the origin's own file system. */

import {
  isWhittleError,
  openGguf,
  quantizeGguf,
  type SyncHandle,
  syncHandleSink,
} from '../../src/browser.ts';

/** What the library of DOM types has for windows only. */
interface WorkerFile {
  createSyncAccessHandle(): Promise<SyncHandle>;
}

const isWorkerFile = (handle: object): handle is WorkerFile => 'createSyncAccessHandle' in handle;

addEventListener('message', async ({ data }: MessageEvent<{ file: File; to: string }>) => {
  try {
    const root = await navigator.storage.getDirectory();
    const model = await openGguf(data.file);
    const [result] = await quantizeGguf(model, {
      to: data.to,
      sink: async ({ name }) => {
        const handle = await root.getFileHandle(name, { create: true });
        if (!isWorkerFile(handle)) throw new Error('this is no worker');
        return syncHandleSink(await handle.createSyncAccessHandle(), name);
      },
    });
    postMessage({ name: result?.files[0]?.name });
  } catch (error) {
    postMessage({ error: isWhittleError(error) ? error.code : String(error) });
  }
});
