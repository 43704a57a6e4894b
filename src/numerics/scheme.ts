/**
 * How one tensor is to be quantized, as the caller says it (`TensorScheme`) and with every default filled in
 * (`ResolvedScheme`). Defaults depend on the encoding's row: signed integers are symmetric, unsigned ones are not;
 * symmetric 8 and 16 bit leave out the lowest code as onnxruntime does; formats with a fixed block use it.
 */

import { WhittleError } from '../errors.ts';
import type { BlockRule } from '../kernels/kernels.ts';
import type { AffineFormula, AffineRounding, ValueRange } from './affine.ts';
import type { Encoding } from './encodings/encoding.ts';
import { type EncodingId, encoding } from './encodings/registry.ts';
import type { Granularity } from './granularity.ts';
import type { ScaleDType } from './operation.ts';

export interface TensorScheme {
  readonly encoding: EncodingId;
  /** What shares one scale. Default: the encoding's own block along the last axis, else the whole tensor. */
  readonly granularity?: Granularity | undefined;
  readonly symmetric?: boolean | undefined;
  /** Leaves out the lowest code (symmetric only). */
  readonly restricted?: boolean | undefined;
  readonly formula?: AffineFormula | undefined;
  readonly rounding?: AffineRounding | undefined;
  /** Of the stochastic rounding. Default 0. */
  readonly seed?: number | undefined;
  readonly scaleType?: ScaleDType | undefined;
  /** Float encodings: overflow gives the largest finite value. Default: true for 8 and 4 bits. */
  readonly saturate?: boolean | undefined;
  /** Range of each group instead of its min and max: fixed, or an observer's answer (src/calibration/observers). */
  readonly range?: ValueRange | ((values: Float32Array) => ValueRange) | undefined;
  /** Scale, zero point and codes exactly as an ONNX operator form has them (docs/onnx.md 3.1, 3.2, 3.4) instead of affine.ts. */
  readonly rule?: BlockRule | undefined;
  /** NaN and ±Inf: refused with E_NONFINITE (default), or handled by the encoding's policy. */
  readonly nonFinite?: 'refuse' | 'keep' | undefined;
}

export interface ResolvedScheme {
  readonly row: Encoding & { readonly id: EncodingId };
  readonly granularity: Granularity;
  readonly scaled: boolean;
  readonly symmetric: boolean;
  readonly restricted: boolean;
  readonly formula: AffineFormula;
  readonly rounding: AffineRounding;
  readonly seed: number;
  readonly scaleType: ScaleDType;
  readonly saturate: boolean;
  readonly range: TensorScheme['range'];
  readonly rule: BlockRule | undefined;
  readonly nonFinite: 'refuse' | 'keep';
}

/** The settings, with the values of those that choose among names: calls from JavaScript are not checked by a compiler. */
const SETTINGS: Readonly<Record<keyof TensorScheme, readonly unknown[] | undefined>> = {
  encoding: undefined,
  granularity: undefined,
  symmetric: [true, false],
  restricted: [true, false],
  formula: ['round', 'floor', 'sign-magnitude'],
  rounding: ['halfEven', 'halfAway', 'stochastic'],
  seed: undefined,
  scaleType: ['f32', 'f16'],
  saturate: [true, false],
  range: undefined,
  rule: ['nbits', 'qdq', 'gather'],
  nonFinite: ['refuse', 'keep'],
};

function checkSettings(given: unknown): void {
  if (typeof given !== 'object' || given === null) {
    throw new WhittleError('E_USAGE', 'a scheme is the name of an encoding or an object', {
      found: String(given),
    });
  }
  const known = new Map<string, readonly unknown[] | undefined>(Object.entries(SETTINGS));
  for (const [key, value] of Object.entries(given)) {
    if (!known.has(key)) {
      throw new WhittleError('E_USAGE', `a scheme has no setting ${key}`, {
        expected: [...known.keys()].join(', '),
      });
    }
    const choices = known.get(key);
    if (value !== undefined && choices !== undefined && !choices.includes(value)) {
      throw new WhittleError('E_USAGE', `the setting ${key} does not take this value`, {
        expected: choices.join(', '),
        found: String(value),
      });
    }
  }
}

/** Throws E_USAGE for settings that the encoding does not have, and for unknown ones. */
export function resolveScheme(scheme: TensorScheme | EncodingId): ResolvedScheme {
  const given: TensorScheme = typeof scheme === 'string' ? { encoding: scheme } : scheme;
  checkSettings(given);
  const row = encoding(given.encoding);
  const symmetric = given.symmetric ?? (row.affine ? row.signed || given.formula === 'sign-magnitude' : true);
  if (!row.affine) {
    const setting = (['formula', 'rounding', 'restricted', 'rule', 'range'] as const).find(
      (key) => given[key] !== undefined && !(key === 'range' && row.scaleType !== 'none'),
    );
    if (setting !== undefined || !symmetric) {
      throw usage(row, setting ?? 'symmetric', 'integer encodings have it');
    }
  }
  if (row.scaleType === 'none' && given.granularity !== undefined) {
    throw usage(row, 'granularity', 'the values are cast one by one, without a scale');
  }
  if (given.formula === 'sign-magnitude' && !symmetric) {
    throw usage(row, 'formula sign-magnitude with symmetric: false', 'sign-magnitude is symmetric');
  }
  const block = row.defaultBlock;
  const granularity: Granularity =
    given.granularity ?? (block === null ? { kind: 'tensor' } : { kind: 'group', axis: -1, size: block });
  if (row.blockSize !== null && (granularity.kind !== 'group' || granularity.size !== row.blockSize)) {
    throw usage(row, 'granularity', `its blocks are groups of ${row.blockSize} along an axis`);
  }
  if (given.rule !== undefined) checkRule(row, given.rule, granularity, symmetric);
  return {
    row,
    granularity,
    scaled: row.scaleType === 'optional' ? given.granularity !== undefined : row.scaleType !== 'none',
    symmetric,
    restricted: given.restricted ?? (symmetric && row.bits >= 8),
    formula: given.formula ?? 'round',
    rounding: given.rounding ?? 'halfEven',
    seed: given.seed ?? 0,
    scaleType: given.scaleType ?? 'f32',
    saturate: given.saturate ?? row.bits <= 8,
    range: given.range,
    rule: given.rule,
    nonFinite: given.nonFinite ?? 'refuse',
  };
}

/** The operator forms have 2, 4 or 8 bits and blocks along the last axis; their symmetric codes are as listed. */
function checkRule(row: Encoding, rule: BlockRule, granularity: Granularity, symmetric: boolean): void {
  if (row.bits !== 2 && row.bits !== 4 && row.bits !== 8) {
    throw usage(row, `rule ${rule}`, 'the rule has 2, 4 or 8 bits');
  }
  if (granularity.kind !== 'group') throw usage(row, `rule ${rule}`, 'the rule needs the granularity group');
  const signed = rule === 'qdq' && symmetric;
  if (row.signed !== signed) {
    throw usage(
      row,
      `rule ${rule}`,
      `its ${symmetric ? '' : 'a'}symmetric codes are ${signed ? '' : 'un'}signed`,
    );
  }
}

function usage(row: Encoding, setting: string, reason: string): WhittleError {
  return new WhittleError('E_USAGE', `the encoding ${row.id} does not take the setting ${setting}`, {
    expected: reason,
    hint: 'Leave the setting out, or choose another encoding (docs/encodings.md).',
  });
}
