/** What a loss is measured in, as users write it, with its unit. Light: the command line reads it for its help. */

export const LOSS_MEASURES = {
  accuracy: { unit: 'points', about: 'percentage points of accuracy less than the original (labels)' },
  perplexity: { unit: '%', about: 'perplexity above that of the original, in percent (text)' },
  kl: { unit: 'nats', about: 'KL divergence from the original, nats for each row or token' },
  error: { unit: '%', about: 'error of the worst output, RMS in percent of the RMS of the output' },
} as const;

export type LossMeasure = keyof typeof LOSS_MEASURES;

export const LOSS_NAMES: readonly LossMeasure[] = Object.keys(LOSS_MEASURES).filter(isLossMeasure);

export function isLossMeasure(name: string): name is LossMeasure {
  return Object.hasOwn(LOSS_MEASURES, name);
}
