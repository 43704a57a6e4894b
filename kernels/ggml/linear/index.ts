/** Exports of the module for the linear family of ggml block types (src/kernels/ggml/linear). */

export function ping(): i32 {
  return 1;
}
