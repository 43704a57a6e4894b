/** Where a page's results go: by default Blobs, else whatever the caller opens for each file. */

import type { RunOptions } from '../core/progress.ts';
import { executeInline, type InlineOptions } from '../execution/inline.ts';
import type { FilesAndTasks } from '../execution/jobs.ts';
import type { ExecutionReport } from '../execution/report.ts';
import { type BlobSink, createBlobSink } from '../io/blob-sink.ts';
import type { ByteSink } from '../io/source.ts';

/** A file that is going to be written. */
export interface PlannedFile {
  readonly name: string;
  /** Exact bytes. */
  readonly size: number;
}

export interface OutputOptions extends RunOptions {
  /** Opens the place of a file; called for each before anything is read. Default: a Blob in the result. */
  readonly sink?: ((file: PlannedFile) => ByteSink | Promise<ByteSink>) | undefined;
  /** Dequantize every tile again and report each tensor's error. */
  readonly measure?: boolean | undefined;
}

/** A file of a result. */
export interface OutputFileResult {
  readonly name: string;
  readonly bytes: number;
  /** The content, where no sink took it. */
  readonly blob?: Blob | undefined;
}

export interface WrittenOutputs {
  readonly report: ExecutionReport;
  /** By output, model first. */
  readonly files: readonly (readonly OutputFileResult[])[];
}

/** Writes plans of either format; all appear, or none. @throws WhittleError as `executeInline`, and what `sink` throws */
export async function writeOutputs(
  outputs: readonly FilesAndTasks[],
  { sink, ...options }: OutputOptions & Pick<InlineOptions, 'nonFinite'>,
): Promise<WrittenOutputs> {
  const blobs = new Map<ByteSink, BlobSink>();
  const opened: ByteSink[] = [];
  const openSink = async ({ name, size }: PlannedFile): Promise<ByteSink> => {
    if (sink !== undefined) return sink({ name, size });
    const own = createBlobSink(name, size);
    blobs.set(own, own);
    return own;
  };
  const sets: (FilesAndTasks & { sinks: ByteSink[] })[] = [];
  try {
    for (const output of outputs) {
      const sinks: ByteSink[] = [];
      for (const file of output.files) {
        const one = await openSink(file);
        sinks.push(one);
        opened.push(one);
      }
      sets.push({ ...output, sinks });
    }
  } catch (error) {
    await Promise.allSettled(opened.map((one) => one.abort()));
    throw error;
  }
  const report = await executeInline(sets, options);
  const files = sets.map(({ files: planned, sinks }) =>
    planned.map(({ name, size }, index) => {
      const own = sinks[index] && blobs.get(sinks[index]);
      return { name, bytes: size, ...(own !== undefined && { blob: own.blob() }) };
    }),
  );
  return { report, files };
}
