/** Exports of the module for the narrow family of ggml block types (src/kernels/ggml/narrow). */

export function ping(): i32 {
  return 1;
}
