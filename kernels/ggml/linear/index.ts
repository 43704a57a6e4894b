/** Exports of the module for the linear family of ggml block types (src/kernels/ggml/linear). */

export { decodeIq4Nl, decodeIq4Xs, decodeQ4_0, decodeQ4_1, decodeQ5_0, decodeQ5_1, decodeQ8_0 } from './decode';
export { searchIq4Nl, searchIq4Xs } from './iq4';
export { encodeQ4_0, encodeQ4_1, encodeQ5_0, encodeQ5_1, encodeQ8_0 } from './plain';
export { searchQ4_0, searchQ4_1, searchQ5_0, searchQ5_1 } from './weighted';
export { squareSums } from './weights';
