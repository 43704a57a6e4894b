/**
 * One run at a time for an output that is written under a stable name: `<output>.lock` says who is writing. A lock whose
 * owner no longer runs is taken over.
 *
 * Whether the owner runs: on this machine by its process number, and, where the system tells it (Linux), by the moment
 * that process started, since numbers come back after a restart and are small in containers. Of another machine nothing
 * is known but that a run renews the time of its lock (`renew`): silent for a minute, it counts as gone.
 */

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { WhittleError } from '../errors.ts';
import { type Disk, readWhole, writeAll } from './disk.ts';

export interface OutputLock {
  /** Says that this run is alive, as well as the disk lets it. */
  renew(): Promise<void>;
  release(): Promise<void>;
}

interface Owner {
  readonly pid: number;
  readonly host: string;
  /** When the process started, as the system counts; undefined where that is not known. */
  readonly started?: string | undefined;
  readonly run: string;
}

/** A run on another machine that was silent for so long is gone, milliseconds. */
const SILENT = 60_000;
const LARGEST = 4096;

/** Locks that this process holds. */
const held = new Set<string>();
let aside = 0;

/** @throws WhittleError E_LOCKED where another run is writing `output`; errors of the disk. */
export async function lockOutput(disk: Disk, output: string): Promise<OutputLock> {
  const path = `${output}.lock`;
  const owner: Owner = {
    pid: process.pid,
    host: hostname(),
    started: startOf(process.pid),
    run: randomUUID(),
  };
  const content = new TextEncoder().encode(`${JSON.stringify(owner)}\n`);
  for (let attempt = 0; ; attempt++) {
    const file = await disk.create(path).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    });
    if (file !== undefined) {
      held.add(owner.run);
      const release = async (): Promise<void> => {
        held.delete(owner.run);
        await file.close().catch(() => undefined);
        await disk.remove(path);
      };
      try {
        await writeAll(file, 0, content);
      } catch (error) {
        await release();
        throw error;
      }
      return {
        async renew() {
          // A lock that looks older than it is only matters to another machine.
          await writeAll(file, 0, content).catch(() => undefined);
        },
        release,
      };
    }
    const found = await readOwner(disk, path);
    if (attempt === 3 || (found !== undefined && (await isAlive(disk, path, found))))
      throw locked(output, found);
    await takeAway(disk, path, found);
  }
}

/** @throws WhittleError E_LOCKED where another run holds `output`. */
export async function assertUnlocked(disk: Disk, output: string): Promise<void> {
  const path = `${output}.lock`;
  const found = await readOwner(disk, path);
  if (found !== undefined && (await isAlive(disk, path, found))) throw locked(output, found);
}

async function readOwner(disk: Disk, path: string): Promise<Owner | undefined> {
  const bytes = await readWhole(disk, path, LARGEST);
  if (bytes === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return isOwner(value) ? value : undefined;
  } catch {
    // Torn by a power cut: nobody's.
    return undefined;
  }
}

function isOwner(value: unknown): value is Owner {
  if (typeof value !== 'object' || value === null) return false;
  const { pid, host, run, started }: Partial<Record<keyof Owner, unknown>> = value;
  return (
    typeof pid === 'number' &&
    typeof host === 'string' &&
    typeof run === 'string' &&
    (started === undefined || typeof started === 'string')
  );
}

async function isAlive(disk: Disk, path: string, owner: Owner): Promise<boolean> {
  if (owner.host !== hostname()) {
    const found = await disk.identity(path);
    return found !== undefined && Date.now() - found.mtimeMs < SILENT;
  }
  if (held.has(owner.run)) return true;
  if (!isRunning(owner.pid)) return false;
  const started = startOf(owner.pid);
  if (started !== undefined && owner.started !== undefined) return started === owner.started;
  return owner.pid !== process.pid;
}

/** Renames first: of two runs that find the same dead owner only one gets to remove its lock. */
async function takeAway(disk: Disk, path: string, dead: Owner | undefined): Promise<void> {
  const away = `${path}.${process.pid}-${aside++}`;
  try {
    await disk.rename(path, away);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw error;
  }
  const moved = await readOwner(disk, away);
  // Somebody else was quicker, and this is the new lock: it goes back.
  if (moved?.run !== dead?.run) await disk.rename(away, path);
  else await disk.remove(away);
}

function locked(output: string, owner: Owner | undefined): WhittleError {
  return new WhittleError('E_LOCKED', 'another run is writing this output', {
    file: output,
    ...(owner !== undefined && { found: `process ${owner.pid} on ${owner.host}` }),
    hint: 'Wait until it is done or stop it, or choose another output.',
  });
}

/** Whether a process of this machine runs. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it runs and belongs to somebody else.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Boot and start of a process: field 22 of its stat, after the name in parentheses (proc(5)). */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return start === undefined ? undefined : `${boot}:${start}`;
  } catch {
    // Not a Linux machine, or the process is gone.
    return undefined;
  }
}
