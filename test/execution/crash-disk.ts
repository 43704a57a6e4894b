/**
 * A file system in memory that loses power: what was written since the last flush of a file may be there or not, write by
 * write, whatever the order; renames since the last flush of a folder likewise, in their order. (The way of SQLite's crash tests.)
 */

import { dirname } from 'node:path';
import type { Random } from '../../src/core/random.ts';
import type { Disk, DiskFile } from '../../src/io/disk.ts';

interface Node {
  durable: Uint8Array;
  /** Since the last flush, in order; a truncation is a size. */
  pending: (number | { readonly offset: number; readonly bytes: Uint8Array })[];
}

export interface CrashDisk extends Disk {
  /** Calls made so far. */
  readonly calls: number;
  readonly crashed: boolean;
  /** What is found after the power is back. */
  survivors(random: Random): Map<string, Uint8Array>;
}

const PATH_MOST = 1000;

/** @param at - the call at which the power goes: it and all later ones fail */
export function createCrashDisk(at: number, before: ReadonlyMap<string, Uint8Array> = new Map()): CrashDisk {
  const names = new Map<string, Node>();
  for (const [path, bytes] of before) names.set(path, { durable: bytes, pending: [] });
  /** Changes of names that are not durable yet, each with what takes it back. */
  let undo: (() => void)[] = [];
  let calls = 0;
  let crashed = false;

  const step = (): void => {
    crashed ||= calls++ >= at;
    if (crashed) throw Object.assign(new Error('no power'), { code: 'EIO' });
  };
  const apply = (content: Uint8Array, change: Node['pending'][number]): Uint8Array => {
    const size =
      typeof change === 'number' ? change : Math.max(content.length, change.offset + change.bytes.length);
    const next = new Uint8Array(size);
    next.set(content.subarray(0, size));
    if (typeof change !== 'number') next.set(change.bytes, change.offset);
    return next;
  };
  const current = ({ durable, pending }: Node): Uint8Array => pending.reduce(apply, durable);
  const rename = (from: string, to: string): void => {
    const moved = names.get(from);
    const replaced = names.get(to);
    if (moved === undefined) throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
    names.delete(from);
    names.set(to, moved);
    undo.push(() => {
      names.set(from, moved);
      if (replaced === undefined) names.delete(to);
      else names.set(to, replaced);
    });
  };
  const fileOf = (node: Node): DiskFile => ({
    async read(target, offset) {
      step();
      const part = current(node).subarray(offset, offset + target.length);
      target.set(part);
      return part.length;
    },
    async write(bytes, offset) {
      step();
      const part = bytes.slice(0, PATH_MOST);
      node.pending.push({ offset, bytes: part });
      return part.length;
    },
    async sync() {
      step();
      node.durable = current(node);
      node.pending = [];
    },
    async truncate(size) {
      step();
      node.pending.push(size);
    },
    async close() {},
  });

  return {
    get calls() {
      return calls;
    },
    get crashed() {
      return crashed;
    },
    survivors(random) {
      for (const back of undo.slice(Math.floor(random.uniform() * (undo.length + 1))).reverse()) back();
      return new Map(
        [...names].map(([path, { durable, pending }]) => [
          path,
          pending.filter(() => random.uniform() < 0.5).reduce(apply, durable),
        ]),
      );
    },
    async create(path) {
      step();
      if (names.has(path)) throw Object.assign(new Error('EEXIST'), { code: 'EEXIST' });
      const node: Node = { durable: new Uint8Array(), pending: [] };
      names.set(path, node);
      undo.push(() => names.delete(path));
      return fileOf(node);
    },
    async reopen(path) {
      step();
      const node = names.get(path);
      return node && fileOf(node);
    },
    async identity(path) {
      const node = names.get(path);
      if (node === undefined) return undefined;
      const ino = [...names.keys()].indexOf(path);
      return { dev: 1, ino, size: current(node).length, mtimeMs: 0, kind: 'file' };
    },
    async freeBytes() {
      return undefined;
    },
    async list(directory) {
      return [...names.keys()].filter((path) => dirname(path) === directory);
    },
    async rename(from, to) {
      step();
      rename(from, to);
    },
    async remove(path) {
      step();
      const node = names.get(path);
      if (node === undefined) return;
      names.delete(path);
      undo.push(() => names.set(path, node));
    },
    async syncDirectory() {
      step();
      undo = [];
    },
  };
}
