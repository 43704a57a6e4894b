/**
 * Operator-set and IR versions: read, and raised only as far as an emitted operator needs.
 *
 * onnxruntime 1.30 loads IR ≤ 13 and ai.onnx ≤ 26 (docs/onnx.md 1a): nothing is raised above that. Raising ai.onnx
 * changes the meaning of some operators (Softmax at 13, ReduceSum's axes at 13, ReduceMean's at 18 …): whoever asks
 * for a higher version answers for the operators that are in the graph.
 */

import { WhittleError } from '../../errors.ts';
import type { ModelProto, OperatorSetIdProto } from './messages.ts';

export const HIGHEST_IR = 13;
export const HIGHEST_OPSET = 26;
/** Since IR 4 an initializer need not be an input of its graph. */
export const IR_FREE_INITIALIZERS = 4;

/** The default domain has two spellings. */
export function isDefaultDomain(domain: string | undefined): boolean {
  return domain === undefined || domain === '' || domain === 'ai.onnx';
}

function findImport(proto: ModelProto, domain: string): OperatorSetIdProto | undefined {
  const isDefault = isDefaultDomain(domain);
  return proto.opsetImport.find((entry) =>
    isDefault ? isDefaultDomain(entry.domain) : entry.domain === domain,
  );
}

/** Version of a domain that the model imports; `undefined` where it does not. '' and 'ai.onnx' are the same. */
export function opsetVersion(proto: ModelProto, domain: string): number | undefined {
  const found = findImport(proto, domain);
  return found === undefined ? undefined : Number(found.version ?? 0n);
}

/**
 * Makes the model import `domain` in at least `version`.
 * @throws WhittleError E_TARGET above `HIGHEST_OPSET` for ai.onnx; E_UNSUPPORTED for another domain with an older version
 */
export function requireOpset(proto: ModelProto, domain: string, version: number): void {
  const present = findImport(proto, domain);
  if (present === undefined) {
    proto.opsetImport.push({ domain, version: BigInt(version), unknown: [] });
    return;
  }
  if (Number(present.version ?? 0n) >= version) return;
  if (!isDefaultDomain(domain)) {
    throw new WhittleError('E_UNSUPPORTED', `the model imports an older version of ${domain}`, {
      expected: `version ${version}`,
      found: `version ${present.version ?? 0n}`,
      hint: 'Export the model with a newer exporter.',
    });
  }
  if (version > HIGHEST_OPSET) {
    throw new WhittleError('E_TARGET', 'the operator set is newer than the runtimes load', {
      expected: `ai.onnx ${HIGHEST_OPSET} or lower`,
      found: `ai.onnx ${version}`,
    });
  }
  present.version = BigInt(version);
}

/**
 * Makes the IR version at least `version`.
 *
 * Going past 3, inputs that are only there because IR 3 wanted every initializer to be an input are taken away: for
 * IR 3 runtimes treat such weights as constants, for IR 4 as overridable defaults, which forbids most optimizations.
 * @throws WhittleError E_TARGET above `HIGHEST_IR`
 */
export function requireIr(proto: ModelProto, version: number): void {
  const present = Number(proto.irVersion ?? 0n);
  if (present >= version) return;
  if (version > HIGHEST_IR) {
    throw new WhittleError('E_TARGET', 'the IR version is newer than the runtimes load', {
      expected: `IR ${HIGHEST_IR} or lower`,
      found: `IR ${version}`,
    });
  }
  proto.irVersion = BigInt(version);
  const graph = proto.graph;
  if (graph === undefined || present >= IR_FREE_INITIALIZERS || version < IR_FREE_INITIALIZERS) return;
  const initializers = new Set(graph.initializer.map((tensor) => tensor.name));
  graph.input = graph.input.filter((input) => !initializers.has(input.name));
}

/** What the user should know about the versions of a model that was read. */
export function versionNotes(proto: ModelProto): string[] {
  const notes: string[] = [];
  const ir = proto.irVersion;
  if (ir === undefined) notes.push('The model states no IR version.');
  else if (ir > BigInt(HIGHEST_IR)) {
    notes.push(`IR version ${ir} is newer than what onnxruntime 1.30 loads (${HIGHEST_IR}).`);
  }
  const opset = opsetVersion(proto, '');
  if (opset === undefined) notes.push('The model imports no ai.onnx operator set.');
  else if (opset > HIGHEST_OPSET) {
    notes.push(`ai.onnx ${opset} is newer than what onnxruntime 1.30 loads (${HIGHEST_OPSET}).`);
  }
  return notes;
}
