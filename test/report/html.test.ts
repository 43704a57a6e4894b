import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { inspectPage } from '../../src/report/html-inspect.ts';
import { quantizePage } from '../../src/report/html-quantize.ts';
import type { CompressionView, ModelReport } from '../../src/report/model-report.ts';
import { barsSvg, escapeXml, histogramSvg, scatterSvg } from '../../src/report/svg.ts';

const HOSTILE = '<script>alert(1)</script>"\'`&\u001b[31m\u202egnp</title><img src=x onerror=alert(1)>';

function modelReport(name: string): ModelReport {
  const histogram = { low: -1, high: 1, counts: [1, 5, 9, 5, 1] };
  return {
    file: name,
    bytes: 4096,
    externalBytes: 0,
    irVersion: 8,
    opsets: [{ domain: name, version: 17 }],
    producer: name,
    inputs: [name],
    outputs: [name],
    nodes: 3,
    operators: [{ opType: name, count: 3 }],
    parameters: 1000,
    weightBytes: 4000,
    tensors: [1, 2, 3].map((index) => ({
      key: `${name}${index}`,
      name: `${name}.${index}.w`,
      dtype: 'f32',
      shape: [10, 10],
      count: 100,
      bytes: 400,
      uses: [name],
      statistics: {
        min: -1,
        max: 1,
        mean: 0,
        std: 0.3,
        absMax: 1,
        zeros: 0,
        nan: 1,
        infinite: 0,
        outliers: 0.01,
        histogram,
        percentiles: { 50: 0 },
      },
    })),
    modes: [
      { mode: name, suits: true, bytes: 1000 },
      { mode: name, suits: false, reason: name },
    ],
    notes: [name],
  };
}

function compressionView(name: string): CompressionView {
  const layers = [1, 2, 3, 4].map((count) => ({
    tensor: name,
    count: 10 ** count,
    sqnr: 20 + count,
    maxAbs: 0.1,
  }));
  const result = {
    mode: name,
    file: `${name}.onnx`,
    bytes: 1000,
    weightSqnr: 20,
    cosine: 0.9,
    outputSqnr: 10,
    ms: 1,
    layers,
    outputs: [{ name, cosine: 0.9, sqnr: 10, maxAbs: 1 }],
    notes: [name],
    extra: { [name]: name },
  };
  return {
    title: name,
    input: name,
    inputBytes: 4000,
    msOriginal: 2,
    runtime: name,
    inputs: name,
    results: [result, { ...result, bytes: 2000, outputSqnr: 20 }],
    skipped: [{ mode: name, reason: name }],
  };
}

/** Tags of a page, as a browser would see them. */
function tags(html: string): Set<string> {
  return new Set([...html.matchAll(/<([a-z!/][^\s>]*)/gi)].map((match) => match[1]?.toLowerCase() ?? ''));
}

describe('the HTML report', () => {
  test.each([
    ['inspect', (name: string) => inspectPage(modelReport(name))],
    ['quantize', (name: string) => quantizePage(compressionView(name))],
  ])('%s: no name from a file becomes markup', (_name, render) => {
    const hostile = render(HOSTILE);
    // The same tags as with a harmless name: nothing of the name became one.
    expect(tags(hostile)).toEqual(tags(render('harmless')));
    expect(hostile).not.toContain('\u001b');
    expect(hostile).not.toContain('\u202e');
    expect(hostile).toContain('&#60;script&#62;');
  });

  test.each([
    ['inspect', inspectPage(modelReport('m.onnx'))],
    ['quantize', quantizePage(compressionView('q4'))],
  ])('%s: one page that loads nothing and forbids it', (_name, html) => {
    expect(html).toContain(`http-equiv="Content-Security-Policy" content="default-src 'none'`);
    expect(html).not.toMatch(/<script|<link|<img|<iframe|<object|\s(src|href|on[a-z]+)=|url\(|@import/i);
    expect(html).not.toContain('NaN"');
    expect(html).not.toContain('undefined');
  });

  test('is the same bytes for the same data', () => {
    expect(inspectPage(modelReport('m'))).toBe(inspectPage(modelReport('m')));
    expect(quantizePage(compressionView('m'))).toBe(quantizePage(compressionView('m')));
  });

  test('modes that are unsuited for one reason share a line; data-only nodes count as no operators', () => {
    const page = inspectPage({
      ...modelReport('m'),
      nodes: 9,
      operators: [
        { opType: 'Constant', count: 5 },
        { opType: 'Conv', count: 4 },
      ],
      modes: ['q4', 'q2'].map((mode) => ({ mode, suits: false, reason: `${mode} would change nothing` })),
    });
    expect(page).toContain('q4, q2: would change nothing');
    expect(page).toMatch(/>4<[\s\S]{0,60}operators/);
  });

  test('holds up with nothing in it', () => {
    const empty = { ...modelReport('m'), tensors: [], modes: [], operators: [], notes: [], opsets: [] };
    expect(inspectPage(empty)).toContain('</html>');
    expect(quantizePage({ ...compressionView('m'), results: [], skipped: [] })).toContain('</html>');
  });
});

describe('SVG', () => {
  test('escaped text holds no markup, quote, control or direction character, whatever comes in', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(escapeXml(text)).not.toMatch(/[<>"'`\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
      }),
    );
  });

  test('pictures hold finite coordinates only, whatever the data', () => {
    const number = fc.double();
    fc.assert(
      fc.property(fc.array(fc.tuple(number, number), { maxLength: 20 }), fc.boolean(), (pairs, logX) => {
        const points = pairs.map(([x, y]) => ({ x, y, label: 'p' }));
        const picture = scatterSvg('t', points, { xLabel: 'x', yLabel: 'y', logX });
        expect(picture).not.toMatch(/="[^"]*(NaN|Infinity)/);
      }),
    );
    expect(histogramSvg({ low: 0, high: 0, counts: [] })).not.toMatch(/NaN|Infinity/);
    expect(barsSvg('t', [])).not.toMatch(/NaN|Infinity/);
  });
});
