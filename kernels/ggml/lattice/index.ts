/** Exports of the module for the lattice family of ggml block types (src/kernels/ggml/lattice). */

export function ping(): i32 {
  return 1;
}
