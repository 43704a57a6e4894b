/**
 * Limits of what a file may make whittle hold in memory, in one place, each with its reason. They bound memory on
 * hostile input; a real model that hits one can be opened with a larger value (`openOnnx(…, { limits })`, `openGguf(…, { limits })`).
 *
 * Source: docs/cli.md, docs/gguf.md; measured sizes of published models (the largest graphs have about 10⁵ nodes, the
 * largest vocabularies about 10 MB).
 */

export interface Limits {
  /**
   * Bytes of the model file that are held in memory (names, node text, small tensors). The graph of a large
   * language model needs 1 to 20 MiB.
   */
  readonly skeletonBytes: number;
  /**
   * Estimated heap of the decoded graph, bytes (costs in reader.ts). One empty message is 2 bytes in the file and
   * about 200 in memory, so that the byte limit alone would let 10 MB become 1.5 GB. A graph of 20,000 nodes with
   * shapes for every value needs about 50 MiB.
   */
  readonly heapBytes: number;
  /** Messages inside messages. The protobuf libraries of all runtimes stop at 100 too. */
  readonly nesting: number;
  /** Dimensions of a tensor. Runtimes go to 8 at most. */
  readonly rank: number;
  /** Size of one dimension: no file system holds a tensor that is longer. */
  readonly dimension: number;
  /** Bytes of one tensor that `readTensor` holds at once; larger ones are read in pieces through `tensorBytes`. */
  readonly tensorBytes: number;
  /**
   * Bytes before the data of a GGUF file: metadata and tensor descriptions. They are walked to find their end, about
   * 1 s for this many; a vocabulary of 256,000 tokens with its merges takes 12 MB.
   */
  readonly metadataBytes: number;
  /** Bytes of one text in GGUF metadata (held) and of one text in an array (walked). Chat templates take 100 KB. */
  readonly stringBytes: number;
  /** Elements of one array in GGUF metadata, and what `readArray` decodes at once. */
  readonly arrayElements: number;
  /** Tensors of a GGUF file. The largest published models have 10⁵, where each expert stands alone. */
  readonly tensors: number;
}

export const DEFAULT_LIMITS: Limits = {
  skeletonBytes: 64 * 1024 * 1024,
  heapBytes: 128 * 1024 * 1024,
  nesting: 100,
  rank: 8,
  dimension: 2 ** 48,
  tensorBytes: 2 * 1024 ** 3,
  metadataBytes: 256 * 1024 * 1024,
  stringBytes: 64 * 1024 * 1024,
  arrayElements: 16 * 1024 * 1024,
  tensors: 1024 * 1024,
};

/**
 * Tensor payloads up to this many bytes are held with the message; larger ones stay in the file. Small enough that
 * thousands of them do not matter, large enough that shapes, scalars and biases need no second read.
 */
export const INLINE_BYTES = 4096;
