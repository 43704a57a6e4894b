/**
 * The kernels' module and its memory. Layout, in bytes:
 *
 *   0          64 KiB   unused (address 0 stands for "none")
 *   64 KiB    448 KiB   WORK: intermediate values of a kernel
 *   512 KiB   512 KiB   FLAGS: one byte for each group that a kernel leaves to the reference
 *   1 MiB       3 MiB   STAGE: arrays that live outside this memory pass through here in chunks
 *   4 MiB      28 MiB   MODULES: fixed data and scratch of the modules that are loaded on demand (kernels/ggml), each at its
 *                       own base (scripts/build-kernels.mjs), and code books that are built there; untouched pages cost nothing
 *   32 MiB        …     the arena
 *
 * The memory only grows. Growing replaces its ArrayBuffer, so views are made fresh for every call.
 */

import { WhittleError } from '../errors.ts';
import { bumpArena } from './arena.ts';
import type { Arena } from './kernels.ts';
import { KERNEL_MODULE } from './module.gen.ts';

const PAGE = 65536;
export const WORK = PAGE;
export const WORK_BYTES = 7 * PAGE;
export const FLAGS = 8 * PAGE;
export const FLAGS_BYTES = 8 * PAGE;
const STAGE = 16 * PAGE;
export const STAGE_BYTES = 48 * PAGE;
const ARENA = 512 * PAGE;

/** Pointers and counts in; a count or nothing out. */
export type KernelFunction = (...values: number[]) => number;

export type StagedArray =
  | Float32Array
  | Float64Array
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array;

function isKernelFunction(value: unknown): value is KernelFunction {
  return typeof value === 'function';
}

function functionOf(exports: WebAssembly.Exports, name: string): KernelFunction {
  const found = exports[name];
  if (!isKernelFunction(found)) throw new Error(`the kernel module has no function ${name}`);
  return found;
}

function stopped(): never {
  throw new Error('the kernels stopped');
}

const modules = new Map<string, Promise<WebAssembly.Module>>();

/** Each thread compiles a module once. */
function compileOnce(base64: string): Promise<WebAssembly.Module> {
  const known = modules.get(base64);
  if (known !== undefined) return known;
  const module = WebAssembly.compile(decode(base64));
  modules.set(base64, module);
  return module;
}

function decode(base64: string): Uint8Array<ArrayBuffer> {
  // A plain loop: Uint8Array.from over a string takes 50 ms for the modules of one run.
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function bytesOf(array: StagedArray, start: number, length: number): Uint8Array {
  const size = array.BYTES_PER_ELEMENT;
  return new Uint8Array(array.buffer, array.byteOffset + start * size, length * size);
}

/** One instance of the module with its own memory, and the passage of foreign arrays through it. */
export class KernelMemory {
  readonly #memory: WebAssembly.Memory;
  readonly #exports: WebAssembly.Exports;
  #staged = STAGE;
  #outputs: { pointer: number; array: StagedArray; start: number; length: number }[] = [];

  constructor(module: WebAssembly.Module) {
    this.#memory = new WebAssembly.Memory({ initial: ARENA / PAGE });
    this.#exports = new WebAssembly.Instance(module, {
      env: { memory: this.#memory, abort: stopped },
    }).exports;
  }

  kernel(name: string): KernelFunction {
    return functionOf(this.#exports, name);
  }

  /**
   * Instantiates a further module over this memory; the result gives its functions by name.
   * @param base64 - the module as its *.gen.ts has it
   */
  async attach(base64: string): Promise<(name: string) => KernelFunction> {
    const module = await compileOnce(base64);
    const { exports } = await WebAssembly.instantiate(module, {
      env: { memory: this.#memory, abort: stopped },
    });
    return (name) => functionOf(exports, name);
  }

  arena(byteLength: number): Arena {
    const needed = Math.ceil((ARENA + byteLength) / PAGE);
    const missing = needed - this.#memory.buffer.byteLength / PAGE;
    // New pages are zero; pages of an earlier arena are not.
    const reused = Math.min(byteLength, this.#memory.buffer.byteLength - ARENA);
    if (missing > 0) {
      try {
        this.#memory.grow(missing);
      } catch (cause) {
        throw new WhittleError('E_LIMIT', 'the kernel memory cannot grow', {
          expected: 'at most 4 GiB and what the machine has free',
          found: `${byteLength} bytes`,
          cause,
        });
      }
    }
    if (reused > 0) new Uint8Array(this.#memory.buffer, ARENA, reused).fill(0);
    return bumpArena(this.#memory.buffer, ARENA, byteLength);
  }

  isResident(...arrays: StagedArray[]): boolean {
    return arrays.every((array) => array.buffer === this.#memory.buffer);
  }

  /** Address of a resident array's element. */
  address(array: StagedArray, start = 0): number {
    return array.byteOffset + start * array.BYTES_PER_ELEMENT;
  }

  /** Reserves room in the stage; the caller has made sure that it suffices. */
  reserve(bytes: number): number {
    const pointer = this.#staged;
    this.#staged = Math.ceil((pointer + bytes) / 16) * 16;
    if (this.#staged > STAGE + STAGE_BYTES) throw new Error('the kernel stage is full');
    return pointer;
  }

  /** Address of `length` elements for reading: their own, or that of a copy. */
  input(array: StagedArray, start: number, length: number): number {
    if (this.isResident(array)) return this.address(array, start);
    const pointer = this.reserve(length * array.BYTES_PER_ELEMENT);
    this.bytes(pointer, length * array.BYTES_PER_ELEMENT).set(bytesOf(array, start, length));
    return pointer;
  }

  /** Address for writing `length` elements: their own, or room that `deliver` copies from. */
  output(array: StagedArray, start: number, length: number): number {
    if (this.isResident(array)) return this.address(array, start);
    const pointer = this.reserve(length * array.BYTES_PER_ELEMENT);
    this.#outputs.push({ pointer, array, start, length });
    return pointer;
  }

  /** Copies the outputs to their arrays and empties the stage. */
  deliver(): void {
    for (const { pointer, array, start, length } of this.#outputs) {
      bytesOf(array, start, length).set(this.bytes(pointer, length * array.BYTES_PER_ELEMENT));
    }
    this.#outputs = [];
    this.#staged = STAGE;
  }

  bytes(pointer: number, length: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, pointer, length);
  }

  floats(pointer: number, length: number): Float32Array {
    return new Float32Array(this.#memory.buffer, pointer, length);
  }

  doubles(pointer: number, length: number): Float64Array {
    return new Float64Array(this.#memory.buffer, pointer, length);
  }

  words(pointer: number, length: number): Int32Array {
    return new Int32Array(this.#memory.buffer, pointer, length);
  }
}

/** Compiles the module; undefined where the machine has no WebAssembly SIMD. */
export async function compileKernels(): Promise<WebAssembly.Module | undefined> {
  if (typeof WebAssembly === 'undefined') return undefined;
  const binary = decode(KERNEL_MODULE);
  if (!WebAssembly.validate(binary)) return undefined;
  return WebAssembly.compile(binary);
}
