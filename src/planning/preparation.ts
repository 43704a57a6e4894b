/**
 * Preparations: passes over the float model that make it easier to quantize and leave what it computes unchanged (docs/prepare.md).
 * A recipe names them as texts, `smooth=0.5`. Whatever the order in which they are named, they run in the order of this table, since
 * each finds more to do behind those before it: a rotation takes the scales out of norms, where later passes put theirs. Light: the
 * command line reads it for its help.
 */

import { nearest } from '../core/nearest.ts';
import { WhittleError } from '../errors.ts';

interface PreparationKind {
  readonly summary: string;
  /** Looks at what the model makes of data. */
  readonly needsData?: true;
  /** What may stand behind the `=`; without it nothing may. */
  readonly setting?: { readonly expected: string; readonly fits: (text: string) => boolean };
}

/** By name, in the order in which they run. */
export const PREPARATIONS = {
  'fold-batchnorm': {
    summary: 'takes normalizations and constant factors of channels into the products beside them',
  },
  equalize: {
    summary: 'evens out the ranges of channels between neighbouring layers (cross-layer equalization)',
  },
  rotate: {
    summary:
      'spreads loud channels of the residual stream over all (Hadamard rotation); rotate=7 is another seed',
    setting: { expected: 'a seed, a whole number such as rotate=7', fits: (text) => /^\d{1,9}$/.test(text) },
  },
  smooth: {
    summary: 'takes outliers out of activations into the weights that read them (SmoothQuant; data)',
    needsData: true,
    setting: {
      expected: 'an exponent from 0 to 1 such as smooth=0.5, or auto (default: the best for each place)',
      fits: (text: string) => text === 'auto' || (/^\d*\.?\d+$/.test(text) && Number(text) <= 1),
    },
  },
  awq: {
    summary: 'gives inputs that carry much finer steps (AWQ; data)',
    needsData: true,
    setting: {
      expected: 'bits and group size of the grid, such as awq=4/32 (default: those of the mode)',
      fits: (text: string) => /^[2-8]\/[1-9]\d{0,4}$/.test(text),
    },
  },
} as const satisfies Readonly<Record<string, PreparationKind>>;

export type PreparationName = keyof typeof PREPARATIONS;

export const PREPARATION_NAMES: readonly PreparationName[] = Object.keys(PREPARATIONS).filter(isPreparation);

/** One pass with its setting, as text. */
export interface PreparationStep {
  readonly pass: PreparationName;
  readonly setting?: string | undefined;
}

function isPreparation(name: string): name is PreparationName {
  return Object.hasOwn(PREPARATIONS, name);
}

/** Whether a pass looks at what the model makes of data. */
export function needsData(name: PreparationName): boolean {
  const kind: PreparationKind = PREPARATIONS[name];
  return kind.needsData === true;
}

/**
 * The steps that texts such as `equalize` and `smooth=0.5` name, in the order in which they run.
 * @throws WhittleError E_USAGE for a pass that is not known, is named twice, or does not take its setting
 */
export function parsePreparation(texts: readonly string[]): PreparationStep[] {
  const steps = new Map<PreparationName, PreparationStep>();
  for (const text of texts) {
    const equals = text.indexOf('=');
    const name = (equals < 0 ? text : text.slice(0, equals)).trim();
    const setting = equals < 0 ? undefined : text.slice(equals + 1).trim();
    if (!isPreparation(name)) {
      const near = nearest(name, PREPARATION_NAMES);
      throw new WhittleError('E_USAGE', `there is no preparation ${name}`, {
        expected: PREPARATION_NAMES.join(', '),
        found: text,
        ...(near !== undefined && { hint: `Did you mean ${near}?` }),
      });
    }
    if (steps.has(name)) throw new WhittleError('E_USAGE', `the preparation ${name} is named twice`);
    checkSetting(name, setting);
    steps.set(name, { pass: name, ...(setting !== undefined && { setting }) });
  }
  return PREPARATION_NAMES.flatMap((name) => steps.get(name) ?? []);
}

function checkSetting(name: PreparationName, setting: string | undefined): void {
  if (setting === undefined) return;
  const kind: PreparationKind = PREPARATIONS[name];
  if (kind.setting === undefined) {
    throw new WhittleError('E_USAGE', `the preparation ${name} has no setting`, {
      found: `${name}=${setting}`,
    });
  }
  if (kind.setting.fits(setting)) return;
  throw new WhittleError('E_USAGE', `the setting of ${name} is none`, {
    expected: kind.setting.expected,
    found: setting,
  });
}
