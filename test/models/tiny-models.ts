/**
 * Two small model folders in the layout of transformers.js, built by code: a text classifier that has learned nothing but whose answers
 * are fixed, and a one-layer LLaMA with a KV cache. They stand in for the shared models where those are absent. The messages are
 * written with onnx-buf, an encoder that is not ours.
 */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  type AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataType as DataType,
  ModelProtoSchema,
  type NodeProtoSchema,
  type TensorProtoSchema,
  type ValueInfoProtoSchema,
} from 'onnx-buf';
import { createRandom, type Random } from '../../src/core/random.ts';

type Node = MessageInitShape<typeof NodeProtoSchema>;
type Attribute = MessageInitShape<typeof AttributeProtoSchema>;
type Tensor = MessageInitShape<typeof TensorProtoSchema>;
type ValueInfo = MessageInitShape<typeof ValueInfoProtoSchema>;

const WORDS =
  'the of and to in we our people war peace law union state money sea whale ship captain men world'.split(
    ' ',
  );
const SPECIAL = ['<s>', '</s>', '<unk>'];
/** 64 words, so that the table and the output head are worth quantizing. */
const VOCABULARY = [...SPECIAL, ...WORDS, ...Array.from({ length: 41 }, (_, index) => `word${index}`)];
const WIDTH = 64;

const tokenizer = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: SPECIAL.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: { type: 'Lowercase' },
  pre_tokenizer: { type: 'Whitespace' },
  post_processor: null,
  decoder: null,
  model: {
    type: 'WordLevel',
    vocab: Object.fromEntries(VOCABULARY.map((word, id) => [word, id])),
    unk_token: '<unk>',
  },
};

const tokenizerConfig = {
  tokenizer_class: 'PreTrainedTokenizerFast',
  bos_token: '<s>',
  eos_token: '</s>',
  unk_token: '<unk>',
  pad_token: '</s>',
  model_max_length: 128,
};

export const CLASSIFIER_TEXT = 'The people of the union and the law of the sea';
export const PROMPT = 'the captain of the ship';

/** Writes a classifier of two classes into `folder`: embedding, one ReLU layer with a residual, mean, head. */
export async function writeTinyClassifier(folder: string): Promise<void> {
  const graph = new GraphBuilder(createRandom(11));
  const table = graph.weight('embeddings.weight', [VOCABULARY.length, WIDTH], 1);
  graph.node('Gather', [table, 'input_ids'], 'embedded');
  const up = graph.linear('layer.up', 'embedded', WIDTH, 2 * WIDTH);
  const down = graph.linear('layer.down', graph.node('Relu', [up]), 2 * WIDTH, WIDTH);
  const hidden = graph.node('Add', ['embedded', down]);
  const mask = graph.node('Unsqueeze', [graph.cast('attention_mask'), graph.ints('two', [2])]);
  const sum = graph.node(
    'ReduceSum',
    [graph.node('Mul', [hidden, mask]), graph.ints('one', [1])],
    undefined,
    [int('keepdims', 0)],
  );
  const count = graph.node('ReduceSum', [mask, graph.ints('one', [1])], undefined, [int('keepdims', 0)]);
  const pooled = graph.node('Div', [sum, count]);
  graph.node('Identity', [graph.linear('classifier', pooled, WIDTH, 2, 8)], 'logits');
  const text = ['batch_size', 'sequence_length'];
  await writeFolder(
    folder,
    graph.model(
      [value('input_ids', DataType.INT64, text), value('attention_mask', DataType.INT64, text)],
      [value('logits', DataType.FLOAT, ['batch_size', 2])],
    ),
    {
      architectures: ['DistilBertForSequenceClassification'],
      model_type: 'distilbert',
      dim: WIDTH,
      id2label: { 0: 'LAND', 1: 'SEA' },
      label2id: { LAND: 0, SEA: 1 },
      vocab_size: VOCABULARY.length,
    },
  );
}

/** Writes a one-layer LLaMA of two heads (no rotation, no causal mask: it only has to run) into `folder`. */
export async function writeTinyLanguageModel(folder: string): Promise<void> {
  const heads = 2;
  const size = WIDTH / heads;
  const graph = new GraphBuilder(createRandom(5));
  const table = graph.weight('model.embed_tokens.weight', [VOCABULARY.length, WIDTH], 1);
  const hidden = graph.node('Gather', [table, 'input_ids']);
  const split = (name: string) => {
    const flat = graph.node('MatMul', [hidden, graph.weight(name, [WIDTH, WIDTH], 0.3)]);
    const parts = graph.node('Reshape', [flat, graph.ints('heads', [0, 0, heads, size])]);
    return graph.node('Transpose', [parts], undefined, [ints('perm', [0, 2, 1, 3])]);
  };
  const query = split('q_proj.weight');
  for (const name of ['key', 'value']) {
    graph.node('Concat', [`past_key_values.0.${name}`, split(`${name}_proj.weight`)], `present.0.${name}`, [
      int('axis', 2),
    ]);
  }
  const turned = graph.node('Transpose', ['present.0.key'], undefined, [ints('perm', [0, 1, 3, 2])]);
  const scores = graph.node('Softmax', [graph.node('MatMul', [query, turned])], undefined, [int('axis', -1)]);
  const mixed = graph.node('Transpose', [graph.node('MatMul', [scores, 'present.0.value'])], undefined, [
    ints('perm', [0, 2, 1, 3]),
  ]);
  const joined = graph.node('Reshape', [mixed, graph.ints('joined', [0, 0, WIDTH])]);
  const out = graph.node('Add', [
    hidden,
    graph.node('MatMul', [joined, graph.weight('o_proj.weight', [WIDTH, WIDTH], 0.3)]),
  ]);
  graph.node('MatMul', [out, graph.weight('lm_head.weight', [WIDTH, VOCABULARY.length], 1)], 'logits');
  const cache = (name: string, length: string) =>
    value(name, DataType.FLOAT, ['batch_size', heads, length, size]);
  await writeFolder(
    folder,
    graph.model(
      [
        value('input_ids', DataType.INT64, ['batch_size', 'sequence_length']),
        value('attention_mask', DataType.INT64, ['batch_size', 'total_sequence_length']),
        cache('past_key_values.0.key', 'past_sequence_length'),
        cache('past_key_values.0.value', 'past_sequence_length'),
      ],
      [
        value('logits', DataType.FLOAT, ['batch_size', 'sequence_length', VOCABULARY.length]),
        cache('present.0.key', 'total_sequence_length'),
        cache('present.0.value', 'total_sequence_length'),
      ],
    ),
    {
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      hidden_size: WIDTH,
      num_attention_heads: heads,
      num_key_value_heads: heads,
      head_dim: size,
      num_hidden_layers: 1,
      vocab_size: VOCABULARY.length,
      bos_token_id: 0,
      eos_token_id: 1,
    },
  );
}

class GraphBuilder {
  private readonly random: Random;
  private readonly nodes: Node[] = [];
  private readonly initializers = new Map<string, Tensor>();

  constructor(random: Random) {
    this.random = random;
  }

  node(
    opType: string,
    input: string[],
    output = `${opType}_${this.nodes.length}`,
    attribute: Attribute[] = [],
  ): string {
    this.nodes.push({ opType, name: `node_${this.nodes.length}`, input, output: [output], attribute });
    return output;
  }

  cast(input: string): string {
    return this.node('Cast', [input], undefined, [int('to', DataType.FLOAT)]);
  }

  /** Normal values of standard deviation `spread`. */
  weight(name: string, dims: readonly number[], spread: number): string {
    const count = dims.reduce((product, size) => product * size, 1);
    const values = Float32Array.from({ length: count }, () => this.random.normal() * spread);
    return this.tensor(name, DataType.FLOAT, dims, new Uint8Array(values.buffer));
  }

  ints(name: string, values: readonly number[]): string {
    const raw = BigInt64Array.from(values, (number) => BigInt(number));
    return this.tensor(name, DataType.INT64, [values.length], new Uint8Array(raw.buffer));
  }

  linear(name: string, input: string, rows: number, columns: number, gain = 1): string {
    const weight = this.weight(`${name}.weight`, [rows, columns], gain / Math.sqrt(rows));
    const bias = this.weight(`${name}.bias`, [columns], 0.1);
    return this.node('Add', [this.node('MatMul', [input, weight]), bias]);
  }

  model(input: ValueInfo[], output: ValueInfo[]): Uint8Array {
    const graph = {
      name: 'tiny',
      node: this.nodes,
      initializer: [...this.initializers.values()],
      input,
      output,
    };
    const opsetImport = [{ domain: '', version: 17n }];
    return toBinary(ModelProtoSchema, create(ModelProtoSchema, { irVersion: 8n, opsetImport, graph }));
  }

  private tensor(
    name: string,
    dataType: DataType,
    dims: readonly number[],
    rawData: Uint8Array<ArrayBuffer>,
  ): string {
    this.initializers.set(name, { name, dataType, dims: dims.map((size) => BigInt(size)), rawData });
    return name;
  }
}

function int(name: string, number: number): Attribute {
  return { name, type: AttributeType.INT, i: BigInt(number) };
}

function ints(name: string, numbers: readonly number[]): Attribute {
  return { name, type: AttributeType.INTS, ints: numbers.map((number) => BigInt(number)) };
}

function value(name: string, elemType: DataType, shape: readonly (string | number)[]): ValueInfo {
  const dim = shape.map((size) => ({
    value:
      typeof size === 'string'
        ? ({ case: 'dimParam', value: size } as const)
        : ({ case: 'dimValue', value: BigInt(size) } as const),
  }));
  return { name, type: { value: { case: 'tensorType', value: { elemType, shape: { dim } } } } };
}

async function writeFolder(folder: string, model: Uint8Array, config: object): Promise<void> {
  await mkdir(join(folder, 'onnx'), { recursive: true });
  await writeFile(join(folder, 'onnx', 'model.onnx'), model);
  const files = {
    'config.json': config,
    'tokenizer.json': tokenizer,
    'tokenizer_config.json': tokenizerConfig,
  };
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(folder, name), `${JSON.stringify(content, null, 2)}\n`);
  }
}
