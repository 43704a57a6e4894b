import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WhittleError } from '../../src/errors.ts';
import { compileGlob } from '../../src/planning/glob.ts';
import { isMode, MODE_NAMES, presetRecipe } from '../../src/planning/presets.ts';
import { applyOverrides, parseRecipe, validateRecipe } from '../../src/planning/recipe-schema.ts';
import { commonAbilities, resolveTargets } from '../../src/planning/targets.ts';

function failure(run: () => unknown): WhittleError {
  try {
    run();
  } catch (error) {
    if (error instanceof WhittleError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

describe('globs', () => {
  const cases: [string, string, boolean][] = [
    ['*', 'abc', true],
    ['*', 'a/b', false],
    ['**', 'a/b', true],
    ['**', '', true],
    ['a?c', 'abc', true],
    ['a?c', 'a/c', false],
    ['*.weight', 'layer.0.weight', true],
    ['model/**/w', 'model/a/b/w', true],
    ['model/**', 'model', false],
    ['a.c', 'abc', false],
    ['[x]', '[x]', true],
    ['', '', true],
    ['', 'a', false],
  ];
  for (const [pattern, name, expected] of cases) {
    test(`${JSON.stringify(pattern)} ${expected ? 'matches' : 'does not match'} ${JSON.stringify(name)}`, () => {
      expect(compileGlob(pattern)(name)).toBe(expected);
    });
  }

  test('a name matches itself, and itself with any part starred', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z./_]{0,20}$/), fc.nat(20), fc.nat(20), (name, a, b) => {
        const [from, to] = a < b ? [a, b] : [b, a];
        expect(compileGlob(name)(name)).toBe(true);
        expect(compileGlob(`${name.slice(0, from)}**${name.slice(to)}`)(name)).toBe(true);
      }),
    );
  });

  test('many stars do not blow up', () => {
    expect(compileGlob(`${'*a'.repeat(500)}b`)('a'.repeat(5000))).toBe(false);
  });
});

describe('modes', () => {
  test('every mode is a valid recipe with a suffix of its own', () => {
    const suffixes = MODE_NAMES.map((name) => presetRecipe(name).suffix);
    expect(new Set(suffixes).size).toBe(MODE_NAMES.length);
    for (const name of MODE_NAMES)
      expect(validateRecipe(JSON.parse(JSON.stringify(presetRecipe(name)))).name).toBe(name);
  });

  test('names and suffixes are those of transformers.js', () => {
    const expected = {
      fp16: '_fp16',
      q8: '_quantized',
      int8: '_int8',
      uint8: '_uint8',
      q4: '_q4',
      q4f16: '_q4f16',
      bnb4: '_bnb4',
      q2: '_q2',
      q2f16: '_q2f16',
    };
    for (const [name, suffix] of Object.entries(expected)) expect(presetRecipe(name).suffix).toBe(suffix);
  });

  test('a mistyped mode is E_USAGE with the nearest one', () => {
    expect(failure(() => presetRecipe('q4fp16')).details.hint).toBe('Did you mean q4f16?');
    expect(isMode('constructor')).toBe(false);
  });
});

describe('recipe files', () => {
  test('YAML and JSON give the same recipe; schemes get their defaults', () => {
    const yaml =
      'name: mine\nrules:\n  - match: { opType: MatMul }\n    scheme: { as: matmul-nbits, bits: 4 }\n';
    const json = JSON.stringify({
      name: 'mine',
      rules: [{ match: { opType: 'MatMul' }, scheme: { as: 'matmul-nbits', bits: 4 } }],
    });
    const recipe = parseRecipe(yaml, 'r.yaml');
    expect(recipe).toEqual(parseRecipe(json, 'r.json'));
    expect(recipe.rules[0]?.scheme).toEqual({
      as: 'matmul-nbits',
      bits: 4,
      blockSize: 32,
      symmetric: true,
      accuracyLevel: 0,
    });
  });

  test('extends puts own rules in front of those of the mode', () => {
    const recipe = parseRecipe(
      'extends: q4f16\nrules:\n  - match: { tensor: "lm_head*" }\n    scheme: { as: keep }\n',
      'r.yml',
    );
    expect(recipe.rules.map(({ scheme }) => scheme.as)).toEqual(['keep', 'matmul-nbits']);
    expect(recipe).toMatchObject({ name: 'q4f16', suffix: '_q4f16', fp16: { keepIoTypes: true } });
    expect(validateRecipe({ extends: 'q4f16', fp16: false }).fp16).toBeUndefined();
  });

  const bomb = `a: &a [x,x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
    .split('')
    .map((c, i) => `${c}: &${c} [${Array(10).fill(`*${'abcdefg'[i]}`).join(',')}]`)
    .join('\n')}\n`;
  const bad: [string, string, string, string][] = [
    ['an unknown key', 'extends: q4\nexlude: { tensor: x }', 'unknown key exlude', 'Did you mean exclude?'],
    [
      'an unknown key in a scheme',
      'rules: [{ match: {}, scheme: { as: matmul-nbits, bits: 4, blocksize: 32 } }]',
      'unknown key blocksize at rules.0.scheme',
      'blockSize',
    ],
    [
      'an unknown scheme',
      'rules: [{ match: {}, scheme: { as: matmulnbits } }]',
      'unknown scheme at rules.0.scheme.as',
      'Did you mean matmul-nbits?',
    ],
    ['an unknown mode', 'extends: q44', 'there is no mode q44', 'Did you mean q4?'],
    ['3 bits', 'rules: [{ match: {}, scheme: { as: matmul-nbits, bits: 3 } }]', 'rules.0.scheme.bits', ''],
    [
      'blocks of 48',
      'rules: [{ match: {}, scheme: { as: matmul-nbits, bits: 4, blockSize: 48 } }]',
      'rules.0.scheme.blockSize',
      '',
    ],
    [
      'a block granularity without size',
      'rules: [{ match: {}, scheme: { as: qdq, type: int4, granularity: block } }]',
      'blockSize',
      '',
    ],
    ['a scale on f16', 'rules: [{ match: {}, scheme: { as: cast, type: f16, scale: tensor } }]', 'scale', ''],
    ['a suffix that is a path', 'extends: q4\nsuffix: _/../x', 'suffix', ''],
    ['an empty recipe', '{}', 'does nothing', 'extends: q4'],
    ['a list', '[]', '(top)', ''],
    ['nothing', '', '(top)', ''],
    ['broken YAML', 'a: [', 'not valid YAML', ''],
    ['a repeated key', 'name: a\nname: b', 'not valid YAML', ''],
    ['an alias bomb', `${bomb}rules: *h`, 'cannot be expanded', ''],
    ['a foreign tag', 'name: !!js/function "x"', 'not valid YAML', ''],
    ['__proto__', '"__proto__": { "name": "x" }\nextends: q4', '__proto__ is not allowed', ''],
    ['constructor', 'extends: q4\nexclude: { constructor: x }', 'constructor is not allowed', ''],
  ];
  for (const [name, text, message, hint] of bad) {
    test(`${name} is E_RECIPE that says where`, () => {
      const error = failure(() => parseRecipe(text, 'r.yaml'));
      expect(error.code).toBe('E_RECIPE');
      expect(error.message).toContain(message);
      expect(error.details.hint ?? '').toContain(hint);
      expect(error.details.file).toBe('r.yaml');
    });
  }

  test('__proto__ in JSON pollutes nothing', () => {
    const text = '{"extends":"q4","__proto__":{"polluted":true}}';
    expect(failure(() => parseRecipe(text, 'r.json')).code).toBe('E_RECIPE');
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
  });

  test('broken JSON and huge text are E_RECIPE', () => {
    expect(failure(() => parseRecipe('{', 'r.json')).code).toBe('E_RECIPE');
    expect(failure(() => parseRecipe(' '.repeat(2 << 20), 'r.yaml')).code).toBe('E_RECIPE');
  });

  test('any text ends in a recipe or a WhittleError', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), fc.constantFrom('a.json', 'a.yaml'), (text, file) => {
        try {
          parseRecipe(text, file);
        } catch (error) {
          expect(error).toBeInstanceOf(WhittleError);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('overrides of the command line', () => {
  test('bits, block size, symmetry and accuracy level reach the rules', () => {
    const recipe = applyOverrides(presetRecipe('q4'), {
      bits: 8,
      blockSize: 128,
      symmetric: false,
      accuracyLevel: 4,
    });
    expect(recipe.rules[0]?.scheme).toEqual({
      as: 'matmul-nbits',
      bits: 8,
      blockSize: 128,
      symmetric: false,
      accuracyLevel: 4,
    });
  });

  test('real zero points make MatMulNBits asymmetric; forms without them refuse', () => {
    const recipe = applyOverrides(presetRecipe('q4'), { zeroPoints: 'real' });
    expect(recipe.rules[0]?.scheme).toMatchObject({ bits: 4, symmetric: false, zeroPoints: 'real' });
    const refused = [
      [presetRecipe('q4'), { zeroPoints: 'real', symmetric: true }, 'symmetric: false'],
      [presetRecipe('q4'), { zeroPoints: 'real', bits: 8 }, '2 and 4 bits'],
      [presetRecipe('int4-qdq'), { zeroPoints: 'real' }, 'no zeroPoints'],
    ] as const;
    for (const [from, overrides, message] of refused) {
      const error = failure(() => applyOverrides(from, overrides));
      expect(error.code).toBe('E_USAGE');
      expect(error.message).toContain(message);
    }
  });

  test('asymmetric int4-qdq is uint4', () => {
    const recipe = applyOverrides(presetRecipe('int4-qdq'), { symmetric: false });
    expect(recipe.rules[0]?.scheme).toMatchObject({ type: 'uint4' });
  });

  test('operators narrow the rules; one that no rule speaks of takes the first form', () => {
    const conv = applyOverrides(presetRecipe('int4-qdq'), { opTypes: ['Conv'] });
    expect(conv.rules.every(({ match }) => match.opType?.toString() === 'Conv')).toBe(true);
    expect(conv.rules[0]?.scheme).not.toMatchObject({ blockSize: 32 });
    const gather = applyOverrides(presetRecipe('q4'), { opTypes: ['MatMul', 'Gather'] });
    expect(gather.rules.map(({ match }) => match.opType)).toEqual([['MatMul'], ['Gather']]);
    expect(gather.rules[1]?.scheme).toEqual(gather.rules[0]?.scheme);
  });

  test('bits leave alone what a mode does where its own form would spoil a weight', () => {
    const guarded = (name: string, bits?: number) =>
      applyOverrides(presetRecipe(name), { bits }).rules.filter(
        ({ match }) => match.depthwise !== undefined || match.int8SqnrBelow !== undefined,
      );
    expect(guarded('int4-qdq').length).toBeGreaterThan(0);
    expect(guarded('int4-qdq', 4)).toEqual(guarded('int4-qdq'));
  });

  test('what a mode does not have cannot be set', () => {
    expect(failure(() => applyOverrides(presetRecipe('q8'), { bits: 4 }))).toMatchObject({ code: 'E_USAGE' });
    expect(failure(() => applyOverrides(presetRecipe('q4'), { bits: 5 }))).toMatchObject({
      code: 'E_USAGE',
    });
  });

  test('embeddings add a rule in front, include and exclude speak of tensors and nodes', () => {
    const recipe = applyOverrides(presetRecipe('q4'), { embeddings: 8, include: ['a*'], exclude: ['b'] });
    expect(recipe.rules[0]).toMatchObject({
      match: { opType: 'Gather', tensor: ['a*'] },
      scheme: { as: 'gather-block', bits: 8 },
    });
    expect(recipe.exclude).toEqual([{ tensor: ['b'] }, { node: ['b'] }]);
  });

  test('no overrides change nothing', () => {
    for (const name of MODE_NAMES)
      expect(applyOverrides(presetRecipe(name), {}).rules).toEqual(presetRecipe(name).rules);
  });
});

describe('targets', () => {
  test('several targets give what all of them run', () => {
    const common = commonAbilities(resolveTargets(['onnxruntime-node', 'transformers.js']));
    expect(common.nbits.f16Bits).toEqual([4, 8]);
    expect(common.gatherBlock.oddZeroPoints).toBe(false);
    expect(common.maxOpset).toBe(25);
  });

  test('an unknown target is E_USAGE with the nearest one', () => {
    expect(failure(() => resolveTargets(['onnxruntime-nod'])).details.hint).toBe(
      'Did you mean onnxruntime-node?',
    );
  });
});
