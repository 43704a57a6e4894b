/**
 * The module for linear algebra (src/kernels/algebra): what the factorisation of a Gram matrix, and rounding with it, spend nearly
 * all of their time on.
 */

export { quadraticForms } from './forms';
export { demote, subtractProducts } from './products';
export { roundColumns } from './round';
export { addProducts, descendInPairs, descendSingly } from './rows';
export { substitute } from './solve';
