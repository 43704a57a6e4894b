/** The files that an importance matrix reads from: no output may replace them, and they must not change meanwhile. */

import type { Imatrix } from '../../formats/gguf/imatrix-types.ts';
import type { ByteSource } from '../../io/source.ts';

export function imatrixSources(imatrix: Imatrix | undefined): ByteSource[] {
  const sources = new Set<ByteSource>();
  for (const { values } of imatrix?.entries.values() ?? []) {
    if (values.kind === 'range') sources.add(values.source);
  }
  return [...sources];
}
