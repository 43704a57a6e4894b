import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createStyle } from '../../src/report/style.ts';
import { type Column, renderTable } from '../../src/report/table.ts';
import { textWidth } from '../../src/report/text.ts';

const COLUMNS: readonly Column[] = [
  { title: 'tensor', min: 10 },
  { title: 'shape', align: 'right' },
  { title: 'mean', align: 'right', drop: 2 },
  { title: 'std', align: 'right', drop: 1 },
];

const ROWS = [
  ['encoder.layer.0.attention.query.weight', '768×768', '0.01', '0.02'],
  ['bias', '768', '−0.5', '1'],
];

describe('renderTable', () => {
  test('cuts nothing where no width is given', () => {
    expect(renderTable(COLUMNS, ROWS)).toBe(
      [
        'tensor                                    shape  mean   std',
        'encoder.layer.0.attention.query.weight  768×768  0.01  0.02',
        'bias                                        768  −0.5     1',
      ].join('\n'),
    );
  });

  test('shortens names in the middle to fit', () => {
    expect(renderTable(COLUMNS, ROWS, { width: 40 })).toBe(
      [
        'tensor                 shape  mean   std',
        'encoder.l…ry.weight  768×768  0.01  0.02',
        'bias                     768  −0.5     1',
      ].join('\n'),
    );
  });

  test('leaves out columns, the most dispensable first, where names are as short as they may be', () => {
    expect(renderTable(COLUMNS, ROWS, { width: 26 })).toBe(
      ['tensor         shape   std', 'encod…eight  768×768  0.02', 'bias             768     1'].join('\n'),
    );
  });

  test('no line exceeds the terminal, whatever the names, while the fixed columns fit', () => {
    const names = fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.constant('3×4')), { maxLength: 8 });
    fc.assert(
      fc.property(names, fc.integer({ min: 20, max: 120 }), (rows, width) => {
        const columns = COLUMNS.slice(0, 2);
        const clean = rows.map(([name, shape]) => [name.replace(/[\p{C}\p{Z}]/gu, ''), shape]);
        for (const line of renderTable(columns, clean, { width }).split('\n')) {
          expect(textWidth(line)).toBeLessThanOrEqual(width);
        }
      }),
    );
  });

  test('headings of groups stand across the columns', () => {
    const text = renderTable([{ title: 'a' }], [{ heading: 'layer 1' }, ['x']]);
    expect(text).toBe('a\nlayer 1\nx');
  });

  test('painting changes no width', () => {
    const style = createStyle(true);
    const plain = renderTable(COLUMNS, ROWS, { width: 40 });
    const painted = renderTable(COLUMNS, ROWS, { width: 40, style, paint: (text) => style.red(text) });
    expect(painted).toContain('\u001b[31m');
    expect(painted.split('\n').map(textWidth)).toEqual(plain.split('\n').map(textWidth));
  });
});
