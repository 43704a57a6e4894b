/**
 * A foreign engine that runs language models token by token, behind one interface: llama.cpp (llama-cpp.ts). What perplexity and
 * divergence are computed from stands in verify/perplexity.ts.
 */

/** The distribution after one position of a window. */
export interface TokenLogits {
  /** Position in the window whose next token these speak of. */
  readonly position: number;
  /** By token id; `undefined` unless all were asked for. */
  readonly logits: Float32Array | undefined;
  /** −log p of the token that `targets` names for the position, nats. */
  readonly negativeLogLikelihood: number;
}

export interface WindowRequest {
  /** The window's tokens, as they are run. */
  readonly tokens: readonly number[];
  /** First position that is scored; the last one that is, is that before the end. */
  readonly first: number;
  /** The token that really follows each position. */
  readonly targets: readonly number[];
  /** Whether the whole distribution is wanted, or the likelihood of the target only. */
  readonly all: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface LanguageModel {
  /** As the user named it. */
  readonly file: string;
  /** Tokens of the vocabulary. */
  readonly vocabulary: number;
  /** The token that stands before a text, where the model wants one. */
  readonly beginning: number | undefined;
  tokenize(text: string): number[];
  /** Runs one window from an empty context and calls `visit` for each scored position, in order. */
  score(request: WindowRequest, visit: (result: TokenLogits) => void): Promise<void>;
  close(): Promise<void>;
}

export interface LanguageModelOptions {
  /** Tokens of context. */
  readonly context: number;
  /** Default: the engine's own choice. */
  readonly threads?: number | undefined;
  /** Layers on a graphics card; default none, since its sums are in another order. */
  readonly gpuLayers?: number | undefined;
}

export interface LanguageRuntime {
  readonly name: string;
  version(): Promise<string>;
  /** @throws WhittleError E_MISSING_PEER, E_RUNTIME with the engine's own message where it refuses the model. */
  load(file: string, options: LanguageModelOptions): Promise<LanguageModel>;
}
