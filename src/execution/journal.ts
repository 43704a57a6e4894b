/**
 * The journal of an output: `<output>.journal`, one JSON document a line. The first line is the fingerprint of the run
 * (fingerprint.ts); then one line for each finished window with what it wrote, appended after those bytes were flushed;
 * `{"commit":true}` before the files are put in place. A crash may tear the last line: what follows the last whole line
 * does not count. docs/resume.md.
 */

import { type Disk, type DiskFile, diskError, readWhole, writeAll } from '../io/disk.ts';
import type { ErrorSums } from '../kernels/kernels.ts';
import type { Fingerprint } from './fingerprint.ts';
import { isFingerprint } from './fingerprint.ts';
import type { JobResult } from './job.ts';
import type { Written, WrittenPieces } from './written.ts';

/** A finished window. */
export interface JournalRecord {
  /** Which window, independent of the numbering of jobs. */
  readonly window: string;
  readonly result: Omit<JobResult, 'id' | 'written'>;
  readonly written: readonly Written[];
}

export interface JournalContent {
  /** undefined where the first line is not one: the journal of something else, or never finished. */
  readonly fingerprint: Fingerprint | undefined;
  /** The last record of each window. */
  readonly records: ReadonlyMap<string, JournalRecord>;
  /** The files were complete, and being put in place. */
  readonly committing: boolean;
  /** Bytes of whole lines. */
  readonly length: number;
}

export interface Journal {
  /** Appends lines and flushes them. */
  append(records: readonly JournalRecord[]): Promise<void>;
  /** Says that the files are complete. */
  commit(): Promise<void>;
  close(): Promise<void>;
}

/** A journal of a million windows is smaller. */
const MOST_BYTES = 256 << 20;

export function journalPath(output: string): string {
  return `${output}.journal`;
}

/** undefined where there is none. */
export async function readJournal(disk: Disk, path: string): Promise<JournalContent | undefined> {
  const bytes = await readWhole(disk, path, MOST_BYTES);
  if (bytes === undefined) return undefined;
  const decoder = new TextDecoder();
  const records = new Map<string, JournalRecord>();
  let fingerprint: Fingerprint | undefined;
  let committing = false;
  let length = 0;
  for (let start = 0; ; ) {
    const end = bytes.indexOf(0x0a, start);
    if (end < 0) break;
    const value = parse(decoder.decode(bytes.subarray(start, end)));
    if (start === 0) {
      if (!isFingerprint(value)) break;
      fingerprint = value;
    } else if (isCommit(value)) {
      committing = true;
    } else {
      const record = recordOf(value);
      if (record === undefined) break;
      records.set(record.window, record);
    }
    start = end + 1;
    length = start;
  }
  return { fingerprint, records, committing, length };
}

/** A new journal that holds the fingerprint, durably. */
export async function startJournal(disk: Disk, path: string, fingerprint: Fingerprint): Promise<Journal> {
  const file = await disk.create(path);
  const journal = journalOn(file, path, 0);
  try {
    await journal.line(fingerprint);
    return journal;
  } catch (error) {
    await file.close().catch(() => undefined);
    await disk.remove(path).catch(() => undefined);
    throw error;
  }
}

/** Goes on after the whole lines of a journal. */
export async function continueJournal(disk: Disk, path: string, content: JournalContent): Promise<Journal> {
  const file = await disk.reopen(path);
  if (file === undefined) throw new Error(`the journal ${path} went away`);
  try {
    await file.truncate(content.length);
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
  return journalOn(file, path, content.length);
}

function journalOn(
  file: DiskFile,
  path: string,
  start: number,
): Journal & { line(value: unknown): Promise<void> } {
  let at = start;
  const write = async (text: string): Promise<void> => {
    const bytes = new TextEncoder().encode(text);
    try {
      await writeAll(file, at, bytes);
      at += bytes.length;
      await file.sync();
    } catch (error) {
      throw diskError(error, 'write the journal', { file: path });
    }
  };
  return {
    line: (value) => write(`${JSON.stringify(value)}\n`),
    append: (records) => write(records.map((record) => `${JSON.stringify(record, writable)}\n`).join('')),
    commit: () => write('{"commit":true}\n'),
    close: () => file.close(),
  };
}

/** JSON has no Infinity and NaN, which error sums may hold. */
function writable(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

type Fields = Readonly<Record<string, unknown>>;

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCommit(value: unknown): boolean {
  return isFields(value) && value.commit === true;
}

function recordOf(value: unknown): JournalRecord | undefined {
  if (!isFields(value) || typeof value.window !== 'string' || !Array.isArray(value.written)) return undefined;
  if (!isFields(value.result)) return undefined;
  const { count, nonFinite, sums } = value.result;
  if (typeof count !== 'number' || typeof nonFinite !== 'number') return undefined;
  const written = value.written.map(writtenOf);
  const known = written.filter((item) => item !== undefined);
  if (known.length !== written.length) return undefined;
  const errors = sumsOf(sums);
  return {
    window: value.window,
    result: { count, nonFinite, ...(errors !== undefined && { sums: errors }) },
    written: known,
  };
}

function writtenOf(value: unknown): Written | undefined {
  if (!isFields(value)) return undefined;
  const { output, checksum, pieces } = value;
  if (typeof output !== 'number' || typeof checksum !== 'number' || !Array.isArray(pieces)) return undefined;
  const known = pieces.map(piecesOf).filter((item) => item !== undefined);
  return known.length === pieces.length ? { output, checksum, pieces: known } : undefined;
}

function piecesOf(value: unknown): WrittenPieces | undefined {
  if (!Array.isArray(value) || value.length !== 4) return undefined;
  const [offset, length, stride, count] = value.map((item) => (isCount(item) ? item : -1));
  if (offset === undefined || length === undefined || stride === undefined || count === undefined)
    return undefined;
  return Math.min(offset, length, stride, count) < 0 ? undefined : [offset, length, stride, count];
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function sumsOf(value: unknown): ErrorSums | undefined {
  if (!isFields(value)) return undefined;
  const number = (key: string): number => Number(value[key] ?? Number.NaN);
  return {
    count: number('count'),
    maxAbs: number('maxAbs'),
    squaredError: number('squaredError'),
    squaredA: number('squaredA'),
    squaredB: number('squaredB'),
    dot: number('dot'),
  };
}
