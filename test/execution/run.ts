/** Runs one operation through jobs into memory, for tests: a layout with its parts one after the other in one file. */

import type { WeightDType } from '../../src/core/dtype.ts';
import { f32ToF16Bits } from '../../src/core/floats.ts';
import { createRandom } from '../../src/core/random.ts';
import { type ExecuteOptions, executeFiles, type TensorReport } from '../../src/execution/execute.ts';
import type { OutputFile, Segment, TensorBytes } from '../../src/formats/layout.ts';
import { createMemorySink } from '../../src/io/memory-sink.ts';
import { selectKernels } from '../../src/kernels/index.ts';
import { type Operation, operationParts, type PartRole } from '../../src/numerics/operation.ts';
import type { Task } from '../../src/numerics/task.ts';

export interface Outcome {
  readonly parts: Readonly<Partial<Record<PartRole, Uint8Array>>>;
  readonly report: TensorReport;
}

/** A file of the parts of every task, with a gap of `gap` bytes before each. */
export function layoutOf(
  name: string,
  operations: readonly Operation[],
  gap = 0,
): { file: OutputFile; places: { task: number; role: PartRole; offset: number; length: number }[] } {
  let offset = 0;
  const places = operations.flatMap((operation, task) =>
    operationParts(operation).map(({ role, bytes }) => {
      offset += gap;
      const place = { task, role, offset, length: bytes };
      offset += bytes;
      return place;
    }),
  );
  const segments: Segment[] = places.map((place) => ({ kind: 'part', ...place }));
  return { file: { name, size: offset, segments }, places };
}

/** One set for all tests: an instance for each run would cost more than the run. */
const kernels = selectKernels();

export async function runInMemory(
  operation: Operation,
  values: ArrayBufferView,
  options: ExecuteOptions = {},
): Promise<Outcome> {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const task: Task<TensorBytes> = { id: 0, tensor: 'w', source: { kind: 'inline', bytes }, operation };
  const { file, places } = layoutOf('out', [operation], 3);
  const sink = createMemorySink('out', file.size);
  const result = await executeFiles({
    files: [file],
    tasks: [task],
    target: { sinks: [sink] },
    threads: 1,
    kernels: await kernels,
    ...options,
  });
  const content = sink.bytes();
  const report = result.tensors[0];
  if (report === undefined) throw new Error('no report');
  return {
    report,
    parts: Object.fromEntries(
      places.map(({ role, offset, length }) => [role, content.slice(offset, offset + length)]),
    ),
  };
}

/** Bytes of seeded normal values, with an outlier here and there, as `from`. */
export function weightBytes(from: WeightDType, count: number, seed: number): Uint8Array {
  const random = createRandom(seed);
  const values = Float32Array.from({ length: count }, () =>
    random.uniform() < 0.02 ? random.normal() * 40 : random.normal(),
  );
  switch (from) {
    case 'f32':
      return new Uint8Array(values.buffer);
    case 'f64':
      return new Uint8Array(Float64Array.from(values, (x) => x * 1.0000000001).buffer);
    case 'f16':
      return new Uint8Array(Uint16Array.from(values, f32ToF16Bits).buffer);
    case 'bf16':
      return new Uint8Array(Uint16Array.from(new Uint32Array(values.buffer), (x) => x >>> 16).buffer);
    default:
      return from satisfies never;
  }
}
