/**
 * Model folders in the layout of transformers.js: which files to compress, how results are called, and what config.json must say
 * about them. This is the layer's door; docs/model-folders.md tells the rules in prose.
 */

export { claimedDataFiles, updateConfig, type WrittenModel } from './config.ts';
export { checkConfigFile, updateConfigFile } from './config-file.ts';
export {
  type FolderOptions,
  findSessions,
  folderOfFile,
  type ModelFolder,
  planFolder,
  type SessionFile,
  type VariantFile,
} from './folder.ts';
export {
  DTYPE_SUFFIXES,
  dataFileNames,
  MAX_DATA_FILES,
  type ModelFileName,
  outputName,
  splitFileName,
} from './names.ts';
