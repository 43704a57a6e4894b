/** Names of the algorithms as users write them, with what each is and needs. Light: the command line reads it for its help. */

export const ALGORITHMS = {
  auto: 'gptq-act-order with data, fit without',
  rtn: 'round to nearest, as the mode does by itself',
  clip: 'searched range of each group',
  'clip-weighted': 'the same, weighted by E[x²] (data)',
  fit: 'least-squares grid of each group',
  'fit-weighted': 'the same, weighted by E[x²] (data)',
  hqq: 'half-quadratic quantization',
  awq: 'scales of AWQ folded into the model, then searched ranges weighted by E[x²] (data)',
  gptq: 'GPTQ: later inputs make up for errors on earlier ones (data)',
  'gptq-act-order': 'the same, inputs that matter most first (data)',
  gptaq: 'the same, towards the outputs of the float model (data)',
  best: 'towards the float model through residual sums too, then codes and scales refined: closest (data)',
} as const;

export type AlgorithmName = keyof typeof ALGORITHMS;

export const ALGORITHM_NAMES: readonly AlgorithmName[] = Object.keys(ALGORITHMS).filter(isAlgorithm);

export function isAlgorithm(name: string): name is AlgorithmName {
  return Object.hasOwn(ALGORITHMS, name);
}
