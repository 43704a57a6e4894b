/**
 * How similar is similar enough: a rough reading of the cosine between a model's outputs and its original's, for colours only.
 * From 0.999 a classifier's answers rarely change; below 0.95 they often do. The task's own metric decides.
 */

export type Grade = 'good' | 'fair' | 'bad' | 'none';

export function cosineGrade(cosine: number | undefined): Grade {
  if (cosine === undefined || Number.isNaN(cosine)) return 'none';
  if (cosine >= 0.999) return 'good';
  return cosine >= 0.95 ? 'fair' : 'bad';
}
