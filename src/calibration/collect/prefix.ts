/**
 * Runs over the same data, each of which starts where the one before got to (prefix-plan.ts says where that is). For a model that is compared with
 * its float original, both are cut at the same places.
 */

import { numberOfDtype } from '../../formats/onnx/data-types.ts';
import type { ModelProto } from '../../formats/onnx/messages.ts';
import type { TapGraph } from '../../formats/onnx/taps/tap-graph.ts';
import type { RuntimeTensor } from '../../runtime/runtime.ts';
import { cutAt, type GivenValue } from './prefix-plan.ts';
import { createPrefixStore, type ValueSeries } from './prefix-store.ts';

/** What the runs so far have kept. Dispose of it after the last. */
export interface PrefixMemory extends AsyncDisposable {
  /** By name; those of the float original apart. */
  kept: Map<string, ValueSeries>;
  series(): ValueSeries;
}

/** @param heldBytes - kept in memory; more goes to temporary files */
export function createPrefixMemory(heldBytes?: number): PrefixMemory {
  const store = createPrefixStore(heldBytes);
  const memory: PrefixMemory = {
    kept: new Map(),
    series: () => store.series(),
    async [Symbol.asyncDispose]() {
      for (const series of memory.kept.values()) await series[Symbol.asyncDispose]();
      memory.kept.clear();
      await store[Symbol.asyncDispose]();
    },
  };
  return memory;
}

/** One run: what it is given, and what it leaves. Of a run that did not finish nothing is kept. */
export interface PrefixRun extends AsyncDisposable {
  /** Values of the cut, for a sample. */
  feeds(sample: number): Promise<Map<string, RuntimeTensor>>;
  take(outputs: ReadonlyMap<string, RuntimeTensor>): Promise<void>;
  /** After the last sample. */
  finish(): Promise<void>;
}

/** Name under which a value of the float original is kept. */
function keyOf(name: string, original: boolean): string {
  return original ? `float\n${name}` : name;
}

interface Value {
  readonly key: string;
  /** In the graph that runs. */
  readonly name: string;
}

/**
 * Cuts the graph at what is kept, and lets it give what is to be kept next.
 * @param border - names in the model @param names - of the float original's values in the joined graph
 */
export function reusePrefix(
  proto: ModelProto,
  border: readonly string[],
  names: ReadonlyMap<string, string> | undefined,
  memory: PrefixMemory,
): { readonly run: PrefixRun; addOutputs(graph: TapGraph): void } {
  const inGraph = (key: string): string | undefined => {
    const original = key.startsWith('float\n');
    if (!original) return key;
    const name = key.slice(keyOf('', true).length);
    const joined = names?.get(name);
    return joined === name ? undefined : joined;
  };
  const present = new Set(proto.graph?.node.flatMap(({ output }) => output));
  const given: (Value & { readonly series: ValueSeries })[] = [];
  for (const [key, series] of memory.kept) {
    const name = inGraph(key);
    if (name !== undefined && present.has(name)) given.push({ key, name, series });
  }
  const inputs: GivenValue[] = given.flatMap(({ name, series: { first } }) =>
    first === undefined ? [] : [{ name, elemType: numberOfDtype(first.dtype), rank: first.shape.length }],
  );
  cutAt(proto, inputs);
  const wanted: Value[] = border.flatMap((name) => {
    const twin = names?.get(name);
    const own = { key: name, name };
    return twin === undefined || twin === name ? [own] : [own, { key: keyOf(name, true), name: twin }];
  });
  const made = wanted
    .filter(({ key }) => !memory.kept.has(key))
    .map((value) => ({ ...value, series: memory.series() }));
  return {
    addOutputs(graph) {
      for (const { name } of made) graph.output(name);
    },
    run: {
      async feeds(sample) {
        const values = new Map<string, RuntimeTensor>();
        for (const { name, series } of given) values.set(name, await series.get(sample));
        return values;
      },
      async take(outputs) {
        for (const { name, series } of made) {
          const tensor = outputs.get(name);
          if (tensor !== undefined) await series.add(tensor);
        }
      },
      async finish() {
        const stay = new Set(wanted.map(({ key }) => key));
        for (const [key, series] of memory.kept) {
          if (stay.has(key)) continue;
          memory.kept.delete(key);
          await series[Symbol.asyncDispose]();
        }
        for (const { key, series } of made.splice(0)) memory.kept.set(key, series);
      },
      async [Symbol.asyncDispose]() {
        for (const { series } of made) await series[Symbol.asyncDispose]();
      },
    },
  };
}
