/**
 * What a run must have in common with the run that it continues: the inputs, everything that decides the bytes of the
 * output, and the version of whittle. The kind of kernels and the number of threads do not count: they never change bytes.
 */

import { createHash, type Hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { WhittleError } from '../errors.ts';
import type { TensorBytes } from '../formats/layout.ts';
import { isFileSource } from '../io/file-source.ts';
import type { ByteSource } from '../io/source.ts';
import type { FilesAndTasks } from './jobs.ts';
import type { NonFinitePolicy } from './operations/context.ts';

interface InputPrint {
  readonly name: string;
  readonly size: number;
  /** Time of change; absent where the input is no file. */
  readonly mtimeMs?: number | undefined;
  /** SHA-256 of the first and the last MiB. */
  readonly ends: string;
}

export interface Fingerprint {
  /** Version of the journal's form. */
  readonly journal: 1;
  readonly version: string;
  readonly inputs: readonly InputPrint[];
  /** SHA-256 of layout, tasks and options. */
  readonly plan: string;
  readonly files: readonly { readonly name: string; readonly size: number }[];
  /** What was asked for, by the name of the option: says which one changed; whether anything did is told by `plan`. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
}

const END = 1 << 20;

export async function fingerprintOf(
  set: FilesAndTasks,
  nonFinite: NonFinitePolicy,
  settings?: Readonly<Record<string, string>>,
): Promise<Fingerprint> {
  const sources: ByteSource[] = [];
  const plan = planDigest(set, nonFinite, sources);
  const inputs: InputPrint[] = [];
  for (const source of sources) inputs.push(await inputPrint(source));
  return {
    journal: 1,
    version: ownVersion(),
    inputs,
    plan,
    files: set.files.map(({ name, size }) => ({ name, size })),
    ...(settings && { settings }),
  };
}

/** @throws WhittleError E_RESUME that names what changed since `before`. */
export function assertSame(before: Fingerprint, now: Fingerprint, output: string): void {
  const changes: { what: string; expected: string; found: string }[] = [];
  for (const [index, input] of before.inputs.entries()) {
    const other = now.inputs[index];
    // Another number or order of inputs comes of other options.
    if (other === undefined || before.inputs.length !== now.inputs.length) break;
    const same =
      input.name === other.name &&
      input.size === other.size &&
      input.mtimeMs === other.mtimeMs &&
      input.ends === other.ends;
    if (!same) changes.push({ what: 'the input', expected: describe(input), found: describe(other) });
  }
  if (before.version !== now.version) {
    changes.push({
      what: 'the version of whittle',
      expected: `whittle ${before.version}`,
      found: `whittle ${now.version}`,
    });
  }
  // Other inputs or versions give other plans by themselves.
  if (changes.length === 0 && before.plan !== now.plan) {
    const named = changedSettings(before.settings, now.settings);
    changes.push({
      what: `the options${named === '' ? '' : ` (${named})`}`,
      expected: 'those of the run that stopped',
      found: 'others',
    });
  }
  if (changes.length === 0) return;
  const list = (key: 'what' | 'expected' | 'found'): string =>
    [...new Set(changes.map((change) => change[key]))].join(' and ');
  throw new WhittleError('E_RESUME', `the run cannot be continued: ${list('what')} changed`, {
    file: output,
    expected: list('expected'),
    found: list('found'),
    hint: 'Continue with what the first run had, or start anew without --resume.',
  });
}

function changedSettings(before: Fingerprint['settings'] = {}, now: Fingerprint['settings'] = {}): string {
  const names = new Set([...Object.keys(before), ...Object.keys(now)]);
  return [...names].filter((name) => before[name] !== now[name]).join(', ');
}

function describe({ name, size, mtimeMs }: InputPrint): string {
  const when = mtimeMs === undefined ? '' : `, changed ${new Date(mtimeMs).toISOString()}`;
  return `${name} of ${size} bytes${when}`;
}

export function isFingerprint(value: unknown): value is Fingerprint {
  if (typeof value !== 'object' || value === null) return false;
  const { journal, version, inputs, plan, files, settings }: Partial<Record<keyof Fingerprint, unknown>> =
    value;
  return (
    (settings === undefined || isTexts(settings)) &&
    journal === 1 &&
    typeof version === 'string' &&
    typeof plan === 'string' &&
    Array.isArray(inputs) &&
    inputs.every(isInputPrint) &&
    Array.isArray(files) &&
    files.every(isNamedSize)
  );
}

function isTexts(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((text) => typeof text === 'string')
  );
}

function isNamedSize(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { name, size }: { name?: unknown; size?: unknown } = value;
  // Bare names: what a journal lists may be removed.
  return (
    typeof name === 'string' && name === basename(name) && typeof size === 'number' && Number.isFinite(size)
  );
}

function isInputPrint(value: unknown): boolean {
  if (!isNamedSize(value) || typeof value !== 'object' || value === null) return false;
  const { mtimeMs, ends }: { mtimeMs?: unknown; ends?: unknown } = value;
  const timed = mtimeMs === undefined || (typeof mtimeMs === 'number' && Math.abs(mtimeMs) <= 8.64e15);
  return typeof ends === 'string' && timed;
}

async function inputPrint(source: ByteSource): Promise<InputPrint> {
  const hash = createHash('sha256');
  const head = new Uint8Array(Math.min(END, source.size));
  await source.readInto(0, head);
  hash.update(head);
  if (source.size > END) {
    const length = Math.min(END, source.size - END);
    const tail = head.subarray(0, length);
    await source.readInto(source.size - length, tail);
    hash.update(tail);
  }
  return {
    name: basename(source.name),
    size: source.size,
    ...(isFileSource(source) && { mtimeMs: source.identity.mtimeMs }),
    ends: hash.digest('hex'),
  };
}

/** Digest of everything that decides the bytes; `sources` gets the sources in the order in which the plan names them. */
function planDigest(set: FilesAndTasks, nonFinite: NonFinitePolicy, sources: ByteSource[]): string {
  const hash = createHash('sha256');
  const numbers = new Map<ByteSource, number>();
  const numberOf = (source: ByteSource): number => {
    const known = numbers.get(source);
    if (known !== undefined) return known;
    numbers.set(source, sources.length);
    return sources.push(source) - 1;
  };
  const bytes = (source: TensorBytes | undefined): void => {
    if (source === undefined) add(hash, null);
    else if (source.kind === 'range') add(hash, [numberOf(source.source), source.offset, source.length]);
    else addBytes(hash, source.bytes);
  };
  add(hash, { nonFinite });
  for (const { name, size, segments } of set.files) {
    add(hash, { name, size });
    for (const segment of segments) {
      switch (segment.kind) {
        case 'bytes':
          add(hash, ['bytes', segment.offset]);
          addBytes(hash, segment.bytes);
          break;
        case 'copy':
          add(hash, ['copy', segment.offset, segment.length, numberOf(segment.source), segment.sourceOffset]);
          break;
        case 'part':
          add(hash, ['part', segment.offset, segment.length, segment.task, segment.role]);
          break;
        default:
          segment satisfies never;
      }
    }
  }
  for (const { id, tensor, source, operation, importance } of set.tasks) {
    add(hash, { id, tensor, operation });
    bytes(source);
    bytes(importance?.values);
    bytes(importance?.counts);
  }
  for (const { id, tensor, operation, sources: parts } of set.restorations ?? []) {
    add(hash, { id, tensor, operation });
    for (const [role, source] of Object.entries(parts)) {
      add(hash, role);
      bytes(source);
    }
  }
  return hash.digest('hex');
}

function add(hash: Hash, value: unknown): void {
  hash.update(`${JSON.stringify(value)}\n`);
}

function addBytes(hash: Hash, bytes: Uint8Array): void {
  add(hash, bytes.length);
  hash.update(bytes);
}

let version: string | undefined;

/** Of the package that this file is part of. */
export function ownVersion(): string {
  if (version !== undefined) return version;
  const value: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const found = typeof value === 'object' && value !== null && 'version' in value ? value.version : undefined;
  version = typeof found === 'string' ? found : 'unknown';
  return version;
}
