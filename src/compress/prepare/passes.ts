/** The preparations by name. Each is loaded when it is asked for. */

import type { PreparationName } from '../../planning/preparation.ts';
import type { PreparationPass } from './pass.ts';

export const PASSES: Readonly<Record<PreparationName, () => Promise<PreparationPass>>> = {
  'fold-batchnorm': async () => (await import('./fold-batchnorm.ts')).foldBatchnorm,
  equalize: async () => (await import('./equalize.ts')).equalize,
  smooth: async () => (await import('./smooth.ts')).smooth,
  awq: async () => (await import('./awq.ts')).awq,
  rotate: async () => (await import('./rotate.ts')).rotate,
};
