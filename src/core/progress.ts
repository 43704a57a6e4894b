/** Progress of a long run, in bytes of input, and the signal that stops it. */

export interface Progress {
  /** What is going on, for people: "quantizing", "copying". */
  readonly phase: string;
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** Tensor that was just finished, where there is one. */
  readonly tensor?: string;
}

export type OnProgress = (progress: Progress) => void;

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}
