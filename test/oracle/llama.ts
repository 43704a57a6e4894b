/**
 * `llama_model_quantize` of the prebuilt llama.cpp library as the oracle of whole files and of type decisions. Requests
 * go to a child process (llama-quantize.mjs), one after the other; where the library aborts it, the answer says so and a new
 * child takes the next request.
 */

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { GGML_TYPES, type GgmlType, isGgmlType } from '../../src/core/ggml-types.ts';
import { llamaLibraries } from './ggml.ts';

export interface QuantizeRequest {
  readonly input: string;
  /** Not needed for a dry run. */
  readonly output?: string | undefined;
  /** Number of the file type. */
  readonly fileType: number;
  readonly threads?: number | undefined;
  readonly copy?: boolean | undefined;
  readonly pure?: boolean | undefined;
  readonly keepSplit?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
  readonly allowRequantize?: boolean | undefined;
  readonly leaveOutputTensor?: boolean | undefined;
  readonly outputTensorType?: GgmlType | undefined;
  readonly tokenEmbeddingType?: GgmlType | undefined;
  readonly tensorTypes?: readonly { readonly pattern: string; readonly type: GgmlType }[] | undefined;
  readonly pruneLayers?: readonly number[] | undefined;
  readonly overrides?:
    | readonly {
        readonly key: string;
        readonly tag: 'int' | 'float' | 'bool' | 'str';
        readonly value: number | boolean | string;
      }[]
    | undefined;
  readonly imatrix?: readonly { readonly name: string; readonly values: Float32Array }[] | undefined;
}

export interface QuantizeAnswer {
  readonly outcome: 'done' | 'refused' | 'aborted';
  readonly log: readonly string[];
  /** The reason of a refusal, as the library gives it. */
  readonly message: string;
  /** Type of each tensor of the output, in its order: read from the log. Empty where it was refused. */
  readonly types: ReadonlyMap<string, GgmlType>;
}

export interface LlamaOracle {
  quantize(request: QuantizeRequest): Promise<QuantizeAnswer>;
  close(): Promise<void>;
}

/** Starts the child; undefined where the library is not installed, or with WHITTLE_NO_ORACLE=1 to try how that is. */
export function llamaOracle(): LlamaOracle | undefined {
  const libraries = llamaLibraries();
  if (libraries === undefined || process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  let child: Child | undefined;
  let queue: Promise<unknown> = Promise.resolve();
  return {
    quantize(request) {
      const answer = queue.then(async () => {
        child ??= startChild(libraries);
        const line = await child.ask(encode(request));
        if (line === undefined) {
          const log = child.errors();
          child = undefined;
          return { outcome: 'aborted' as const, log, message: log.at(-1) ?? '', types: new Map() };
        }
        return decode(line);
      });
      queue = answer.catch(() => undefined);
      return answer;
    },
    async close() {
      await queue;
      await child?.end();
      child = undefined;
    },
  };
}

interface Child {
  /** undefined where the process ended instead of answering. */
  ask(line: string): Promise<string | undefined>;
  errors(): string[];
  end(): Promise<void>;
}

function startChild(libraries: string): Child {
  const script = fileURLToPath(new URL('./llama-quantize.mjs', import.meta.url));
  const child: ChildProcessWithoutNullStreams = spawn(process.execPath, [script, libraries], {
    // Without this an abort takes seconds, for a debugger that prints a stack.
    env: { ...process.env, GGML_NO_BACKTRACE: '1' },
  });
  const lines: Interface = createInterface({ input: child.stdout });
  const answers = lines[Symbol.asyncIterator]();
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-16_384);
  });
  // A write to a child that has just died is told by the missing answer.
  child.stdin.on('error', () => undefined);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return {
    async ask(line) {
      child.stdin.write(`${line}\n`);
      const next = await answers.next();
      return next.done ? undefined : next.value;
    },
    errors: () => errors.split('\n').filter((line) => line !== ''),
    async end() {
      child.stdin.end();
      await ended;
    },
  };
}

const number = (type: GgmlType | undefined): number | undefined =>
  type === undefined ? undefined : GGML_TYPES[type].id;

function encode(request: QuantizeRequest): string {
  return JSON.stringify({
    ...request,
    outputTensorType: number(request.outputTensorType),
    tokenEmbeddingType: number(request.tokenEmbeddingType),
    tensorTypes: request.tensorTypes?.map(({ pattern, type }) => ({ pattern, type: number(type) })),
    imatrix: request.imatrix?.map(({ name, values }) => ({
      name,
      values: Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64'),
    })),
  });
}

function decode(line: string): QuantizeAnswer {
  const answer: { readonly code: number; readonly log: readonly string[] } = JSON.parse(line);
  const failure = answer.log.find((text) => text.includes('failed to quantize'));
  return {
    outcome: answer.code === 0 ? 'done' : 'refused',
    log: answer.log,
    message: failure?.replace(/^.*failed to quantize: /, '') ?? '',
    types: answer.code === 0 ? typesIn(answer.log) : new Map(),
  };
}

/**
 * Lines such as `[   1/  39] output.weight - [256, 2048, 1, 1], type = f16, size = 1.00 MiB -> 0.41 MiB (q6_K)` of a dry run,
 * and `…, type = f16, converting to q6_K .. size = …` of a real one; without a second type it is kept.
 */
function typesIn(log: readonly string[]): Map<string, GgmlType> {
  const types = new Map<string, GgmlType>();
  for (const line of log) {
    const found = /^\[ *\d+\/ *\d+\] (\S+) +- \[[^\]]*\], type = +(\w+), (.*)$/.exec(line);
    if (found === null) continue;
    const [, name = '', from = '', rest = ''] = found;
    const to = /converting to (\w+)|\((\w+)\)$/.exec(rest);
    const type = to?.[1] ?? to?.[2] ?? from;
    if (!isGgmlType(type)) throw new Error(`the library names a type that is not known: ${line}`);
    types.set(name, type);
  }
  return types;
}
