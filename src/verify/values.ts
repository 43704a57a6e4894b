/**
 * The elements of a runtime's tensor as numbers: they stand with the data sets, which make tensors too
 * (calibration/data/tensor-values.ts); here for those that compare outputs.
 */

export * from '../calibration/data/tensor-values.ts';
