/** Whatever call fails, and whenever the power goes: the output is absent or perfect, and a resumed run completes it. */

import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { createRandom } from '../../src/core/random.ts';
import { isWhittleError } from '../../src/errors.ts';
import { createCrashDisk } from './crash-disk.ts';
import { createFaultDisk, type FaultDisk, type FaultKind } from './fault-disk.ts';
import { smallRun } from './resumable.ts';

const weights = 4;
const FINALS = ['/out/m.bin', '/out/m.bin_data'];

const perfect = (async () => {
  const disk = createFaultDisk(undefined);
  await smallRun({ disk, weights });
  expect([...disk.files.keys()].sort()).toEqual(FINALS);
  return digests(disk.files);
})();

/** What a file system holds, small enough to compare often. */
function digests(files: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  return Object.fromEntries(
    [...files]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([path, bytes]) => [path, createHash('sha256').update(bytes).digest('hex')]),
  );
}

async function outcome(run: Promise<unknown>): Promise<string> {
  return run.then(
    () => 'done',
    (error: unknown) => (isWhittleError(error) ? error.code : String(error)),
  );
}

const finals = (files: ReadonlyMap<string, Uint8Array>): Record<string, string> =>
  digests(new Map([...files].filter(([path]) => FINALS.includes(path))));

const KINDS: readonly FaultKind[] = ['ENOSPC', 'EIO', 'short-then-ENOSPC'];

test.each(KINDS)(
  '%s at the Nth call: no output appears, and --resume completes it, for every N until the run succeeds',
  async (kind) => {
    const wanted = await perfect;
    let resumed = 0;
    let at = 0;
    for (; ; at++) {
      const disk: FaultDisk = createFaultDisk({ at, kind });
      const code = await outcome(smallRun({ disk, weights }));
      if (!disk.struck) break;
      // What fails after the last rename, or while tidying up, does not matter any more.
      if (code !== 'done') {
        expect(code, `call ${at}`).toBe(kind === 'EIO' ? 'E_IO' : 'E_NO_SPACE');
        expect(finals(disk.files), `call ${at}`).toEqual({});
      }
      const next = createFaultDisk(undefined, disk.files);
      if (code !== 'done') {
        const report = await smallRun({ weights, disk: next, resume: true });
        if (report.bytesResumed > 0) resumed++;
      }
      expect(digests(next.files), `call ${at}`).toEqual(wanted);
    }
    expect(at).toBeGreaterThan(40);
    expect(resumed).toBeGreaterThan(10);
  },
);

test('with force, a failure leaves the two old files or the two new ones, and --resume gives the new ones', async () => {
  const wanted = await perfect;
  const old = new Map(FINALS.map((path, i) => [path, Uint8Array.of(i)]));
  for (let at = 0; ; at++) {
    const disk = createFaultDisk({ at, kind: 'EIO' }, old);
    const code = await outcome(smallRun({ weights, disk, force: true }));
    expect(finals(disk.files), `call ${at}`).toEqual(code === 'done' ? wanted : digests(old));
    if (!disk.struck) break;
    const next = createFaultDisk(undefined, disk.files);
    if (code !== 'done') await smallRun({ weights, disk: next, resume: true, force: true });
    expect(digests(next.files), `call ${at}`).toEqual(wanted);
  }
});

test('the power goes at the Nth call, unflushed writes are lost or torn: absent or perfect, and --resume completes', async () => {
  const wanted = await perfect;
  const random = createRandom(5);
  let resumed = 0;
  for (let at = 0; ; at++) {
    const disk = createCrashDisk(at);
    await outcome(smallRun({ disk, weights }));
    const files = disk.survivors(random);
    // The lock names this very process, which here outlived its death.
    files.delete('/out/m.bin.lock');
    const there = finals(files);
    for (const [path, digest] of Object.entries(there)) {
      expect(digest, `call ${at}: ${path}`).toBe(wanted[path]);
    }
    if (!disk.crashed) break;
    if (Object.keys(there).length === FINALS.length && !files.has('/out/m.bin.journal')) continue;
    // Also the run that continues may meet a power cut.
    const cut = createCrashDisk(at, files);
    await outcome(smallRun({ weights, disk: cut, resume: true, force: true }));
    const left = cut.survivors(random);
    left.delete('/out/m.bin.lock');
    const last = createFaultDisk(undefined, left);
    const report = await smallRun({ weights, disk: last, resume: true, force: true });
    if (report.bytesResumed > 0) resumed++;
    expect(finals(last.files), `call ${at}`).toEqual(wanted);
  }
  expect(resumed).toBeGreaterThan(10);
});
