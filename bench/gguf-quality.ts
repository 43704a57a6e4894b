/**
 * `npm run bench -- gguf-quality`: how far the shared language model drifts when its GGUF file gets a type, by who chooses the codes: ggml's
 * encoder, the same with an importance matrix, algorithms on the same text. All figures are llama.cpp's: KL divergence to the
 * float file, nats per token, on a text that was not calibrated on.
 *
 *     GGUF_TYPES=Q4_0,Q2_K         types (default: Q4_K_M,Q4_0,Q3_K_M,Q2_K,IQ3_S)
 *     GGUF_ALGORITHMS=gptq,best    algorithms (default: gptq-act-order,best)
 *     GGUF_WINDOWS=96              windows of 256 tokens that are evaluated (default 24)
 *     GGUF_THREADS=1               threads (default 2)
 *     GGUF_DOCS=1                  puts the table into docs/algorithms.md
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { calibrate } from '#src/compress/calibrate.js';
import type { QuantizeGgufOptions } from '#src/compress/gguf/options.js';
import { quantizeGguf } from '#src/compress/gguf/quantize.js';
import { llamaCpp } from '#src/runtime/llama-cpp.js';
import { baseModel, measurePerplexity } from '#src/verify/perplexity.js';

const shared = fileURLToPath(new URL('../../../shared/', import.meta.url));
const { env } = process;
const threads = Number(env.GGUF_THREADS ?? 2);
const CONTEXT = 256;
const CALIBRATION = { samples: 64, sequence: 256 };

export interface GgufQuality {
  readonly type: string;
  readonly bitsPerWeight: number;
  /** By who chose the codes; absent where the type cannot do without importance. */
  readonly divergence: Readonly<Record<string, number>>;
}

export async function benchGgufQuality(): Promise<GgufQuality[]> {
  const folder = mkdtempSync(join(tmpdir(), 'whittle-gguf-quality-'));
  try {
    return await measure(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(folder: string): Promise<GgufQuality[]> {
  const model = `${shared}models/lm/lm-f16.gguf`;
  const onnx = `${shared}models/lm/onnx/model.onnx`;
  const source = `${shared}data/lm-calib.txt`;
  const text = readFileSync(`${shared}data/lm-eval.txt`, 'utf8');
  const types = (env.GGUF_TYPES ?? 'Q4_K_M,Q4_0,Q3_K_M,Q2_K,IQ3_S').split(',');
  const algorithms = (env.GGUF_ALGORITHMS ?? 'gptq-act-order,best').split(',');
  const imatrix = join(folder, 'imatrix.gguf');
  await calibrate(onnx, {
    data: source,
    dataset: CALIBRATION,
    output: join(folder, 'model.stats'),
    imatrix,
    threads,
  });
  const data = { source, ...CALIBRATION };
  const ways: readonly (readonly [string, Partial<QuantizeGgufOptions>])[] = [
    ['encoder', {}],
    ['imatrix', { imatrix }],
    ...algorithms.map((algorithm) => [algorithm, { algorithm, data, onnx }] as const),
  ];
  const runtime = llamaCpp();
  const options = { context: CONTEXT, threads };
  const base = baseModel(await runtime.load(model, options));
  const figures: GgufQuality[] = [];
  try {
    for (const type of types) {
      const divergence: Record<string, number> = {};
      let bitsPerWeight = 0;
      for (const [name, wishes] of ways) {
        const output = join(folder, 'result.gguf');
        const started = performance.now();
        try {
          const { results } = await quantizeGguf(model, {
            to: type,
            output,
            force: true,
            threads,
            ...wishes,
          });
          bitsPerWeight = results[0]?.bitsPerWeight ?? 0;
        } catch (error) {
          console.log(`  ${type} ${name}: ${String(error)}`);
          continue;
        }
        const seconds = (performance.now() - started) / 1000;
        const quantized = await runtime.load(output, options);
        try {
          const chunks = Number(env.GGUF_WINDOWS ?? 24);
          const report = await measurePerplexity(quantized, text, { context: CONTEXT, chunks }, base);
          divergence[name] = report.divergence?.mean ?? Number.NaN;
          console.log(
            `  ${type} ${name}: ${divergence[name].toFixed(6)} ± ${report.divergence?.meanError.toFixed(6)}, quantized in ${seconds.toFixed(1)} s`,
          );
        } finally {
          await quantized.close();
        }
      }
      figures.push({ type, bitsPerWeight, divergence });
    }
  } finally {
    await base.model.close();
  }
  console.log(`\n${ggufQualityTable(figures)}`);
  if (env.GGUF_DOCS === '1') intoDocs(ggufQualityTable(figures));
  return figures;
}

/** KL divergences, in parentheses the share of what the encoder with an importance matrix loses. */
export function ggufQualityTable(figures: readonly GgufQuality[]): string {
  const ways = [...new Set(figures.flatMap(({ divergence }) => Object.keys(divergence)))];
  const cell = (divergence: GgufQuality['divergence'], way: string): string => {
    const own = divergence[way];
    const guided = divergence.imatrix;
    if (own === undefined) return '–';
    const share = guided === undefined || way === 'imatrix' ? '' : ` (${(own / guided).toFixed(2)})`;
    return `${own.toFixed(5)}${share}`;
  };
  return [
    `| type | bits/weight | ${ways.join(' | ')} |`,
    `| --- | --- | ${ways.map(() => '---').join(' | ')} |`,
    ...figures.map(
      ({ type, bitsPerWeight, divergence }) =>
        `| ${type} | ${bitsPerWeight.toFixed(2)} | ${ways.map((way) => cell(divergence, way)).join(' | ')} |`,
    ),
  ].join('\n');
}

function intoDocs(table: string): void {
  const docs = fileURLToPath(new URL('../../docs/algorithms.md', import.meta.url));
  const between = /(<!-- gguf-quality -->)[\s\S]*?(<!-- \/gguf-quality -->)/;
  writeFileSync(docs, readFileSync(docs, 'utf8').replace(between, `$1\n\n${table}\n\n$2`));
}
