/**
 * What each target runs, as one row of abilities: nothing that a chosen target refuses, or computes wrongly without
 * saying so, is ever written. Source: docs/onnx.md 2 (906 graphs run in onnxruntime-node and -web 1.30, and in
 * the versions that transformers.js 4.2 pins: onnxruntime-node 1.24.3, onnxruntime-web 1.26-dev).
 */

import { nearest } from '../core/nearest.ts';
import { WhittleError } from '../errors.ts';

export interface Target {
  readonly name: string;
  readonly description: string;
  /** Newest IR version and ai.onnx opset that load. */
  readonly maxIr: number;
  readonly maxOpset: number;
  readonly nbits: {
    readonly bits: readonly number[];
    readonly blocks: readonly number[];
    /** Widths that also run with f16 activations and scales. */
    readonly f16Bits: readonly number[];
    /** Widths whose zero points may be real numbers. */
    readonly realZeroBits: readonly number[];
    /** accuracy_level is obeyed (else ignored, exact). */
    readonly accuracyLevel: boolean;
  };
  readonly gatherBlock: {
    /** Widths with packed uint8 data. */
    readonly bits: readonly number[];
    /** Packed 4-bit zero points with an odd number of blocks in a row give right values. */
    readonly oddZeroPoints: boolean;
  };
}

const BLOCKS = [16, 32, 64, 128, 256] as const;

const current = { maxIr: 13, maxOpset: 26 } as const;

const TARGETS = {
  'onnxruntime-node': {
    description: 'onnxruntime-node ≥ 1.30, CPU',
    ...current,
    nbits: { bits: [2, 4, 8], blocks: BLOCKS, f16Bits: [2, 4, 8], realZeroBits: [2, 4], accuracyLevel: true },
    gatherBlock: { bits: [4, 8], oddZeroPoints: true },
  },
  'onnxruntime-web': {
    description: 'onnxruntime-web ≥ 1.30, wasm',
    ...current,
    nbits: {
      bits: [2, 4, 8],
      blocks: BLOCKS,
      f16Bits: [2, 4, 8],
      realZeroBits: [2, 4],
      accuracyLevel: false,
    },
    gatherBlock: { bits: [4, 8], oddZeroPoints: true },
  },
  'transformers.js': {
    description: 'transformers.js 4.2 (onnxruntime-node 1.24.3, onnxruntime-web 1.26-dev)',
    maxIr: 13,
    // 1.24 warns above opset 25; nothing that is written needs more than 21.
    maxOpset: 25,
    nbits: { bits: [2, 4, 8], blocks: BLOCKS, f16Bits: [4, 8], realZeroBits: [4], accuracyLevel: true },
    gatherBlock: { bits: [4, 8], oddZeroPoints: false },
  },
} as const satisfies Record<string, Omit<Target, 'name'>>;

export const TARGET_NAMES: readonly string[] = Object.keys(TARGETS);
export const DEFAULT_TARGETS: readonly string[] = ['onnxruntime-web', 'onnxruntime-node'];

function isTarget(name: string): name is keyof typeof TARGETS {
  return Object.hasOwn(TARGETS, name);
}

/** The rows of `names`. E_USAGE, with the nearest name, where one is unknown. */
export function resolveTargets(names: readonly string[] = DEFAULT_TARGETS): Target[] {
  return names.map((name) => {
    if (isTarget(name)) return { name, ...TARGETS[name] };
    const near = nearest(name, TARGET_NAMES);
    throw new WhittleError('E_USAGE', `there is no target ${name}`, {
      expected: TARGET_NAMES.join(', '),
      hint: near && `Did you mean ${near}?`,
    });
  });
}

/** What all of the targets run: the row to write for. */
export interface Abilities extends Omit<Target, 'name' | 'description'> {
  readonly names: readonly string[];
}

export function commonAbilities(targets: readonly Target[]): Abilities {
  const all = (pick: (target: Target) => readonly number[]): number[] => {
    const [first, ...rest] = targets.map(pick);
    return (first ?? []).filter((value) => rest.every((list) => list.includes(value)));
  };
  return {
    names: targets.map((target) => target.name),
    maxIr: Math.min(...targets.map((target) => target.maxIr)),
    maxOpset: Math.min(...targets.map((target) => target.maxOpset)),
    nbits: {
      bits: all((target) => target.nbits.bits),
      blocks: all((target) => target.nbits.blocks),
      f16Bits: all((target) => target.nbits.f16Bits),
      realZeroBits: all((target) => target.nbits.realZeroBits),
      accuracyLevel: targets.some((target) => target.nbits.accuracyLevel),
    },
    gatherBlock: {
      bits: all((target) => target.gatherBlock.bits),
      oddZeroPoints: targets.every((target) => target.gatherBlock.oddZeroPoints),
    },
  };
}
