/** Exports of the module for the ternary family of ggml block types (src/kernels/ggml/ternary). */

export function ping(): i32 {
  return 1;
}
