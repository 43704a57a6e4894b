import { describe, expect, test } from 'vitest';
import {
  formatBytes,
  formatCosine,
  formatCount,
  formatDecibels,
  formatDuration,
  formatPercent,
  formatRatio,
  formatShortCount,
  formatValue,
} from '../../src/report/format.ts';
import { groupByLayer, layerOf, nameInLayer } from '../../src/report/groups.ts';
import { rebin, sparkline } from '../../src/report/sparkline.ts';
import { wantsColor } from '../../src/report/style.ts';

describe('figures', () => {
  test.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '0.98 KiB'],
    [10822323, '10.3 MiB'],
    [5 * 2 ** 30, '5.00 GiB'],
    [Number.NaN, '–'],
  ])('%d bytes read %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test.each([
    [0.0123, '12 ms'],
    [1.25, '1.3 s'],
    [59.97, '1 min 00 s'],
    [245, '4 min 05 s'],
    [7400, '2 h 03 min'],
    [Infinity, '–'],
  ])('%d seconds read %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  test.each([
    [0, '0'],
    [-0.25, '−0.25'],
    [1234567, '1.23e6'],
    [-3.2e-7, '−3.20e−7'],
    [Number.NaN, 'NaN'],
    [-Infinity, '−∞'],
  ])('the value %d reads %s', (value, text) => {
    expect(formatValue(value)).toBe(text);
  });

  test.each([
    [1, '1'],
    [0.9999981, '0.9999981'],
    [0.99910001, '0.99910'],
    [0.912, '0.9120'],
    [1 - 1e-12, '>0.99999999'],
    [-0.5, '−0.5000'],
    [undefined, '–'],
  ])('the cosine %d reads %s: 1 only where it is 1', (cosine, text) => {
    expect(formatCosine(cosine)).toBe(text);
  });

  test('counts, shares, ratios and decibels', () => {
    expect(formatCount(1234567)).toBe('1,234,567');
    expect(formatShortCount(2690000)).toBe('2.69M');
    expect(formatPercent(0.00001)).toBe('<0.01 %');
    expect(formatRatio(25, 100)).toBe('25.0 % (4.00×)');
    expect(formatDecibels(Infinity)).toBe('exact');
    expect(formatDecibels(38.26)).toBe('38.3 dB');
  });
});

describe('sparkline', () => {
  test('shows empty bins as blanks and the highest as a full block', () => {
    expect(sparkline([0, 1, 100, 25, 0], 5)).toBe(' ▁█▅ ');
  });

  test('keeps the total when bins are joined', () => {
    const counts = Array.from({ length: 64 }, (_, i) => i);
    expect(rebin(counts, 10).reduce((a, b) => a + b)).toBe(counts.reduce((a, b) => a + b));
    expect(sparkline(counts, 10)).toHaveLength(10);
  });

  test('is blank for nothing', () => {
    expect(sparkline([], 8)).toBe('');
    expect(sparkline([0, 0], 8)).toBe('  ');
  });
});

describe('layers', () => {
  test.each([
    ['encoder.layer.3.attention.query.weight', 'encoder.layer.3'],
    ['/model/layers.12/mlp/up_proj/MatMul.weight', '/model/layers.12'],
    ['onnx::MatMul_2043', 'onnx::MatMul'],
    ['conv2d_184.w_0', 'conv2d_184'],
    ['lm_head.weight', 'lm_head'],
    ['weight', ''],
    ['3', ''],
  ])('%s belongs to %j', (name, layer) => {
    expect(layerOf(name)).toBe(layer);
  });

  test('a name in its layer is shown without the layer', () => {
    expect(nameInLayer('encoder.layer.3.query.weight', 'encoder.layer.3')).toBe('query.weight');
    expect(nameInLayer('weight', '')).toBe('weight');
  });

  test('groups keep the order of first appearance', () => {
    const groups = groupByLayer(['a.1.x', 'b.1.x', 'a.1.y'], (name) => name);
    expect(groups).toEqual([
      { layer: 'a.1', members: ['a.1.x', 'a.1.y'] },
      { layer: 'b.1', members: ['b.1.x'] },
    ]);
  });
});

describe('colour', () => {
  test.each([
    ['auto', true, {}, true],
    ['auto', true, { NO_COLOR: '1' }, false],
    ['auto', true, { TERM: 'dumb' }, false],
    ['auto', false, {}, false],
    ['auto', false, { FORCE_COLOR: '1' }, true],
    ['always', false, { NO_COLOR: '1' }, true],
    ['never', true, { FORCE_COLOR: '1' }, false],
  ] as const)('--color %s on a terminal: %s with %o gives %s', (choice, terminal, environment, expected) => {
    expect(wantsColor(choice, terminal, environment)).toBe(expected);
  });
});
