/** Public surface of statistics: what they are, how they merge, their file, and importance matrices. */

export { ggufNames } from './gguf-names.ts';
export { fromImatrix, toImatrix } from './imatrix.ts';
export type { InputStatistics } from './input-statistics.ts';
export { groupStatistics, mergeStatistics } from './merge.ts';
export { loadStatistics, saveStatistics } from './statistics-file.ts';
export { mergeSets, type StatisticsSet } from './statistics-set.ts';
export {
  meansOf,
  mergeTensors,
  peaksOf,
  percentileRange,
  type ValueStatistics,
} from './tensor-statistics.ts';
