/** Jobs in shared memory are the jobs that went in. */

import { expect, test } from 'vitest';
import type { Job } from '../../src/execution/job.ts';
import { jobReader, packJobs } from '../../src/execution/job-list.ts';

const job = (id: number): Job => ({
  kind: 'quantize',
  id,
  tensor: `blk.${id}.ffn_down.weight ü`,
  operation: {
    kind: 'ggml',
    from: 'f16',
    to: 'q4_K',
    rows: 512,
    columns: 256,
    matrixRows: 512,
    importance: 3,
  },
  window: { start: id, end: id + 7 },
  source:
    id % 3 === 0
      ? { kind: 'inline', bytes: Uint8Array.from({ length: id }, (_, i) => i) }
      : { kind: 'file', index: 0, offset: 2 ** 40 + id, length: 2 ** 33 },
  outputs: [{ role: 'data', target: 0, offset: 2 ** 41 + id, length: 144 }],
  bytes: 1000.5 * id,
});

test('every job comes back as it was, in any order, and none past the last', () => {
  const jobs = Array.from({ length: 120 }, (_, id) => job(id));
  const jobAt = jobReader(packJobs(jobs));
  for (let k = 0; k < jobs.length; k++) {
    const id = (k * 71) % jobs.length;
    expect(jobAt(id)).toEqual(jobs[id]);
  }
  expect(jobAt(jobs.length)).toBeUndefined();
  expect(jobReader(packJobs([]))(0)).toBeUndefined();
});
