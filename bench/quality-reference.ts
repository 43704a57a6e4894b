/**
 * What reference implementations in PyTorch gave for the shared language model: perplexity, and KL divergence from the float
 * model in nats per token. Weights of all layers but embedding and head, asymmetric groups along the input; float 37.153.
 */

export interface ReferenceRow {
  readonly bits: number;
  readonly groupSize: number;
  readonly figures: Readonly<Record<string, readonly [perplexity: number, divergence: number]>>;
}

export const REFERENCE_FLOAT = 37.153;

export const REFERENCE: readonly ReferenceRow[] = [
  {
    bits: 4,
    groupSize: 32,
    figures: {
      rtn: [37.299, 0.00243],
      clip: [37.284, 0.00231],
      'clip-weighted': [37.286, 0.00223],
      hqq: [37.284, 0.00218],
      awq: [37.254, 0.00229],
      gptq: [37.181, 0.0008],
      'gptq-act-order': [37.176, 0.00067],
    },
  },
  {
    bits: 4,
    groupSize: 128,
    figures: {
      rtn: [37.311, 0.00384],
      clip: [37.288, 0.00358],
      'clip-weighted': [37.307, 0.00327],
      hqq: [37.308, 0.00358],
      awq: [37.339, 0.00356],
      gptq: [37.193, 0.0012],
      'gptq-act-order': [37.196, 0.00103],
    },
  },
  {
    bits: 3,
    groupSize: 32,
    figures: {
      rtn: [37.58, 0.01112],
      clip: [37.554, 0.01131],
      'clip-weighted': [37.543, 0.01117],
      hqq: [37.612, 0.00972],
      awq: [37.664, 0.01055],
      gptq: [37.26, 0.00377],
      'gptq-act-order': [37.248, 0.00315],
    },
  },
  {
    bits: 3,
    groupSize: 128,
    figures: {
      rtn: [37.937, 0.01836],
      clip: [37.826, 0.01537],
      'clip-weighted': [37.839, 0.01517],
      hqq: [37.942, 0.01688],
      awq: [37.895, 0.01699],
      gptq: [37.395, 0.00577],
      'gptq-act-order': [37.372, 0.00487],
    },
  },
  {
    bits: 2,
    groupSize: 32,
    figures: {
      rtn: [39.871, 0.06968],
      clip: [40.004, 0.07073],
      'clip-weighted': [39.737, 0.06413],
      hqq: [39.919, 0.06087],
      awq: [39.717, 0.06453],
      gptq: [38.223, 0.02394],
      'gptq-act-order': [37.922, 0.02037],
    },
  },
];
