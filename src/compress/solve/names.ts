/** Names of the algorithms as users write them, with what each is and needs. Light: the command line reads it for its help. */

export const ALGORITHMS = {
  auto: 'the best that the data allows: best with data, fit without',
  rtn: 'round to nearest, as the mode does by itself',
  clip: 'searched range of each group',
  'clip-weighted': 'the same, weighted by E[x²] (data)',
  fit: 'least-squares grid of each group',
  'fit-weighted': 'the same, weighted by E[x²] (data)',
  hqq: 'half-quadratic quantization',
} as const;

export type AlgorithmName = keyof typeof ALGORITHMS;

export const ALGORITHM_NAMES: readonly AlgorithmName[] = Object.keys(ALGORITHMS).filter(isAlgorithm);

export function isAlgorithm(name: string): name is AlgorithmName {
  return Object.hasOwn(ALGORITHMS, name);
}
