/**
 * Groups tensors by layer from their names: `encoder.layer.3.attention.query.weight` belongs to `encoder.layer.3`. The group is
 * the name up to and including its first number between separators; without one, up to the first separator where several
 * names share it. Exporters' meaningless names (`onnx::MatMul_123`) fall into one group by their operator.
 */

/** The layer's part of a tensor's name, as it stands at the start of the name; empty where there is none. */
export function layerOf(name: string): string {
  const exported = /^(onnx::[A-Za-z]+)_\d+$/.exec(name);
  if (exported) return exported[1] ?? name;
  const parts = name.split(/([./])/);
  // Names and separators alternate: the layer ends with the first numbered part that something follows.
  const number = parts.findIndex(
    (part, index) => index % 2 === 0 && index < parts.length - 1 && /(^|[_-])\d+$/.test(part),
  );
  if (number >= 0) return parts.slice(0, number + 1).join('');
  const first = parts.findIndex((part, index) => index % 2 === 0 && part !== '');
  return parts.length > first + 1 ? parts.slice(0, first + 1).join('') : '';
}

/** The name without its layer and the separator, for a row below the layer's heading. */
export function nameInLayer(name: string, layer: string): string {
  if (layer === '' || !name.startsWith(layer)) return name;
  const rest = name.slice(layer.length).replace(/^[./_]/, '');
  return rest === '' ? name : rest;
}

export interface LayerGroup<T> {
  /** Empty for tensors that belong to no layer. */
  readonly layer: string;
  readonly members: readonly T[];
}

/** Groups in order of first appearance; a group of one whose name tells nothing joins the nameless group. */
export function groupByLayer<T>(items: readonly T[], nameOf: (item: T) => string): LayerGroup<T>[] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const layer = layerOf(nameOf(item));
    const members = groups.get(layer);
    if (members === undefined) groups.set(layer, [item]);
    else members.push(item);
  }
  if (groups.size === items.length) return [{ layer: '', members: items }];
  return [...groups].map(([layer, members]) => ({ layer, members }));
}
