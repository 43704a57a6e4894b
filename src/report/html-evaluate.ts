/**
 * The HTML report of `evaluate`: models beside their original on the data, what each costs, which layers hurt, and how values
 * lie before and after. One file, readable offline.
 */

import { type EvaluationView, type FiguresView, keepSteps, type LayerView } from './evaluation-view.ts';
import {
  formatBytes,
  formatCosine,
  formatDecibels,
  formatDuration,
  formatMs,
  formatPercent,
  formatRatio,
  formatShortCount,
  formatValue,
} from './format.ts';
import { facts, type HtmlColumn, htmlTable, noteList, renderPage } from './html.ts';
import { barsSvg, escapeXml, type Point, scatterSvg } from './svg.ts';
import { overlaidHistogramSvg } from './svg-histograms.ts';

const MAX_BARS = 24;
const MAX_LAYERS = 300;

export function evaluatePage(evaluations: readonly EvaluationView[]): string {
  const [first] = evaluations;
  if (first === undefined) return renderPage('evaluation', '<h1>Nothing was evaluated</h1>');
  const title = `${evaluations.map(({ model }) => fileName(model.file)).join(', ')}${first.against === undefined ? '' : ` against ${fileName(first.against.file)}`}`;
  const best = first.quality.scores;
  const body = [
    `<h1>${escapeXml(title)}</h1>`,
    `<p class="sub">${escapeXml(first.data.description)}${first.data.synthetic ? ' <b>Made-up inputs: the figures say little about real ones.</b>' : ''}</p>`,
    facts([
      [formatBytes(first.model.bytes), fileName(first.model.file)],
      ...(best?.result?.accuracy === undefined
        ? []
        : [[formatPercent(best.result.accuracy), 'accuracy'] as const]),
      ...(best?.result?.perplexity === undefined
        ? []
        : [[best.result.perplexity.toFixed(3), 'perplexity'] as const]),
      ...(best?.distance === undefined
        ? []
        : [[formatValue(best.distance.klDivergence), 'nats from the original'] as const]),
      ...(first.model.cost === undefined
        ? []
        : [[`${formatMs(first.model.cost.runMs)} ms`, 'per run'] as const]),
    ]),
    `<h2>Quality</h2><div class="card">${qualityTable(evaluations)}</div>`,
    costSection(evaluations),
    tradeOff(evaluations),
    ...evaluations.map(layerSection),
    outputSection(evaluations),
    noteList([...new Set(evaluations.flatMap(({ notes }) => notes))]),
    `<p class="note">${escapeXml(`Measured in ${formatDuration(evaluations.reduce((sum, { seconds }) => sum + seconds, 0))}.`)}</p>`,
  ];
  return renderPage(title, body.filter((part) => part !== '').join('\n'));
}

function fileName(path: string): string {
  return path.split(/[\\/]/).pop() ?? path;
}

const right = (title: string) => ({ title, className: 'n' });

function qualityTable(evaluations: readonly EvaluationView[]): string {
  const original = evaluations[0]?.against;
  const known = evaluations[0]?.quality.scores?.original;
  const columns = [
    { title: 'model', className: 'name' },
    right('size'),
    right('of original'),
    right('bits per weight'),
    right('accuracy'),
    right('perplexity'),
    right('KL divergence, nats'),
    right('same first'),
    right('output SQNR'),
    right('cosine'),
  ];
  const figures = (of: FiguresView): string[] => [
    escapeXml(fileName(of.file)),
    escapeXml(formatBytes(of.bytes)),
    original === undefined ? '' : escapeXml(formatRatio(of.bytes, original.bytes)),
    of.bitsPerWeight.toFixed(2),
  ];
  const rows = evaluations.map(({ model, quality }) => {
    const { result, distance } = quality.scores ?? {};
    return {
      cells: [
        ...figures(model),
        result?.accuracy === undefined ? '–' : formatPercent(result.accuracy),
        result?.perplexity === undefined ? '–' : result.perplexity.toFixed(3),
        distance === undefined
          ? '–'
          : `${formatValue(distance.klDivergence)} ± ${formatValue(distance.klError)}`,
        distance === undefined ? '–' : formatPercent(distance.agreement),
        escapeXml(formatDecibels(quality.sqnr)),
        escapeXml(formatCosine(quality.cosine)),
      ],
    };
  });
  if (original === undefined) return knownOnly(columns, rows);
  const row = {
    className: 'original',
    cells: [
      ...figures(original),
      known?.accuracy === undefined ? '–' : formatPercent(known.accuracy),
      known?.perplexity === undefined ? '–' : known.perplexity.toFixed(3),
      '',
      '',
      '',
      '',
    ],
  };
  return knownOnly(columns, [row, ...rows]);
}

/** Without the columns that nothing is known for. */
function knownOnly(
  columns: readonly HtmlColumn[],
  rows: readonly { readonly cells: readonly string[]; readonly className?: string | undefined }[],
): string {
  const kept = columns.map((_, index) =>
    rows.some(({ cells }) => !['', '–', undefined].includes(cells[index])),
  );
  return htmlTable(
    columns.filter((_, index) => kept[index]),
    rows.map(({ cells, className }) => ({ cells: cells.filter((_, index) => kept[index]), className })),
  );
}

function costSection(evaluations: readonly EvaluationView[]): string {
  const models = [evaluations[0]?.against, ...evaluations.map(({ model }) => model)];
  const rows = models.flatMap((model) =>
    model?.cost === undefined
      ? []
      : [
          {
            cells: [
              escapeXml(fileName(model.file)),
              `${formatMs(model.cost.loadMs)}`,
              `${formatMs(model.cost.runMs)}`,
              escapeXml(formatBytes(model.cost.peakBytes)),
              escapeXml(formatBytes(model.cost.peakBytes - model.cost.engineBytes)),
            ],
          },
        ],
  );
  const { runtime, runtimeVersion } = models.find((model) => model?.cost !== undefined)?.cost ?? {};
  if (rows.length === 0 || runtime === undefined) return '';
  const table = htmlTable(
    [
      { title: 'model', className: 'name' },
      right('load, ms'),
      right('run, ms (median)'),
      right('peak memory'),
      right('of which model and run'),
    ],
    rows,
  );
  return `<h2>What it costs to run</h2><div class="card">${table}</div><p class="note">${escapeXml(`Each model in a process of its own, in ${runtime} ${runtimeVersion}.`)}</p>`;
}

/** Error against size: the models, and for each what keeping its worst layers would give. */
function tradeOff(evaluations: readonly EvaluationView[]): string {
  const points = evaluations.flatMap((evaluation, series): Point[] => {
    const { model, quality } = evaluation;
    const kl = quality.scores?.distance?.klDivergence;
    if (kl === undefined) return [];
    const own: Point = {
      x: model.bytes / 2 ** 20,
      y: kl,
      label: `${fileName(model.file)}: ${formatBytes(model.bytes)}, ${formatValue(kl)} nats`,
      tag: fileName(model.file),
      series,
    };
    const kept = keepSteps(evaluation)
      .slice(1)
      .map(
        (step): Point => ({
          x: step.bytes / 2 ** 20,
          y: step.klDivergence,
          label: `the worst ${step.kept} kept: ${formatBytes(step.bytes)}, about ${formatValue(step.klDivergence)} nats`,
          series,
        }),
      );
    return [own, ...kept];
  });
  if (points.length < 2) return '';
  return `<h2>Error against size</h2><div class="card">${scatterSvg('KL divergence against size', points, { xLabel: 'size in MiB', yLabel: 'KL divergence in nats', height: 300 })}</div><p class="note">Named points are measured. The others estimate what keeping the worst layers of a model one after the other would give: effects of single layers, added up.</p>`;
}

function layerSection({ model, layers }: EvaluationView): string {
  if (layers === undefined || layers.layers.length === 0) return '';
  const shown = layers.layers.slice(0, MAX_LAYERS);
  const scored = shown.some(({ harm }) => harm?.klDivergence !== undefined);
  const table = knownOnly(
    [
      { title: 'weight, worst first', className: 'name' },
      { title: 'computes', className: 'name' },
      { title: 'stored as', className: 'nowrap' },
      right('elements'),
      right(scored ? 'alone: KL, nats' : 'alone: output SQNR'),
      right('activation SQNR'),
      right('weight SQNR'),
      right('bytes to keep'),
    ],
    shown.map(({ weight, form, count, harm, activation, weightSqnr, keepBytes }) => ({
      cells: [
        escapeXml(weight),
        escapeXml(activation?.tensor ?? ''),
        escapeXml(form),
        escapeXml(formatShortCount(count)),
        escapeXml(scored ? kl(harm?.klDivergence) : formatDecibels(harm?.sqnr)),
        escapeXml(formatDecibels(activation?.sqnr)),
        escapeXml(formatDecibels(weightSqnr)),
        escapeXml(formatBytes(keepBytes)),
      ],
    })),
  );
  const pictures = layers.distributions.map(
    ({ weight, ...data }) =>
      `<h3>${escapeXml(weight)}</h3>${overlaidHistogramSvg(`values of ${weight} before and after`, data)}`,
  );
  return [
    `<h2>Which layers of ${escapeXml(fileName(model.file))} hurt</h2>`,
    `<div class="card">${barsSvg('error of each layer', bars(shown, scored))}</div>`,
    layers.samples === 0
      ? ''
      : `<p class="note">${escapeXml(`Alone: the original with this one weight as the result has it, on ${layers.samples} samples.`)}</p>`,
    `<div class="card"><details${shown.length > 40 ? '' : ' open'}><summary>all ${layers.layers.length} layers</summary>${table}</details></div>`,
    pictures.length === 0
      ? ''
      : `<h2>Values before and after</h2><div class="card"><ul class="key"><li><svg width="10" height="10" viewBox="0 0 10 10"><circle class="s0" fill-opacity=".5" cx="5" cy="5" r="5"/></svg>original</li><li><svg width="10" height="10" viewBox="0 0 10 10"><circle class="s1" cx="5" cy="5" r="5"/></svg>as stored now</li></ul>${pictures.join('\n')}</div>`,
  ]
    .filter((part) => part !== '')
    .join('\n');
}

function kl(value: number | undefined): string {
  return value === undefined ? '–' : formatValue(value);
}

/** Divergence, else noise of the outputs, else noise of the weight, as shares of the signal. */
function bars(layers: readonly LayerView[], scored: boolean) {
  return layers.slice(0, MAX_BARS).map(({ weight, activation, harm, weightSqnr }) => {
    const noise = 10 ** (-(harm?.sqnr ?? weightSqnr) / 10);
    const value = scored ? (harm?.klDivergence ?? 0) : noise;
    return {
      label: activation === undefined || !weight.startsWith('onnx::') ? weight : activation.tensor,
      value: Number.isFinite(value) ? value : 0,
      text: scored ? `${kl(harm?.klDivergence)} nats` : formatDecibels(harm?.sqnr ?? weightSqnr),
    };
  });
}

function outputSection(evaluations: readonly EvaluationView[]): string {
  const rows = evaluations.flatMap(({ model, quality }) => [
    ...(quality.outputs.length > 0 ? [fileName(model.file)] : []),
    ...quality.outputs.map(({ name, cosine, sqnr, maxAbs }) => ({
      cells: [
        escapeXml(name),
        escapeXml(formatCosine(cosine)),
        escapeXml(formatDecibels(sqnr)),
        escapeXml(formatValue(maxAbs)),
      ],
    })),
  ]);
  if (rows.length === 0) return '';
  const table = htmlTable(
    [{ title: 'output', className: 'name' }, right('cosine'), right('SQNR'), right('largest difference')],
    rows,
  );
  return `<h2>Outputs</h2><div class="card"><details><summary>every output beside the original’s</summary>${table}</details></div>`;
}
