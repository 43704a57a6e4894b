/**
 * The jobs of a run in shared memory, serialized in groups: a worker unpacks the group of the job that it takes, so that a model
 * of many thousand windows costs its memory once, not once for each thread.
 */

import { deserialize, serialize } from 'node:v8';
import type { Job } from './job.ts';

export interface JobList {
  /** Number of jobs. */
  readonly length: number;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  /** Where each group ends in `bytes`. */
  readonly ends: readonly number[];
}

/** Jobs in a group: windows of one weight share their operation and their places there. */
const GROUP = 64;

export function packJobs(jobs: readonly Job[]): JobList {
  const groups: Uint8Array[] = [];
  const ends: number[] = [];
  let total = 0;
  for (let start = 0; start < jobs.length; start += GROUP) {
    const packed = serialize(jobs.slice(start, start + GROUP));
    groups.push(packed);
    total += packed.length;
    ends.push(total);
  }
  const bytes = new Uint8Array(new SharedArrayBuffer(total));
  for (const [index, group] of groups.entries()) bytes.set(group, (ends[index] ?? 0) - group.length);
  return { length: jobs.length, bytes, ends };
}

/** @returns a function that gives the job with an index, undefined past the last one. Rising indices cost least. */
export function jobReader({ length, bytes, ends }: JobList): (index: number) => Job | undefined {
  let unpacked = -1;
  let jobs: readonly Job[] = [];
  return (index) => {
    if (index >= length) return undefined;
    const group = Math.floor(index / GROUP);
    if (group !== unpacked) {
      jobs = deserialize(bytes.slice(group === 0 ? 0 : ends[group - 1], ends[group]));
      unpacked = group;
    }
    return jobs[index % GROUP];
  };
}
