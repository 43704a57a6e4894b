/** In the page: bytes come from memory and from files that the user dropped (Blobs), under the promises of every source. */

import { blobSource } from '../../src/io/blob-source.ts';
import { memorySource } from '../../src/io/memory-source.ts';
import { byteSourceSuite } from '../io/byte-source.suite.ts';

byteSourceSuite('memory, in the page', async (bytes) => memorySource(bytes, 'memory'));
byteSourceSuite('Blob, in the page', async (bytes) => blobSource(new Blob([new Uint8Array(bytes)]), 'blob'));
