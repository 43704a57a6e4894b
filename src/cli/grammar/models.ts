/** Grammar of the commands that look at models or turn them back: inspect, dequantize, compare. */

import { type Command, Option } from 'commander';
import {
  inputOption,
  integerOption,
  numberOption,
  preprocessingOption,
  repeatOption,
  shapeOption,
} from '../options.ts';
import { finish, type ProgramOptions } from './command.ts';

export function addProofOptions(command: Command): Command {
  return command
    .optionsGroup('Proof (ONNX):')
    .addOption(
      new Option('--runtime <name>', 'engine that runs the models')
        .choices(['onnxruntime-node', 'onnxruntime-web'])
        .default('onnxruntime-node'),
    )
    .option('--shape <name=dims>', 'shape of an input with open dimensions, e.g. x=1,3,48,320', shapeOption)
    .option('--input <name=file>', 'real value of an input: .npy, .json or raw little-endian', inputOption)
    .option('--runs <n>', 'timed runs of each model; the median counts (default: 5)', integerOption(1, 10000))
    .option('--min-cosine <x>', 'exit with 6 where an output is less similar', numberOption(-1, 1));
}

export function addInspect(program: Command, options: ProgramOptions): void {
  const command = program
    .command('inspect')
    .summary('what is in a model: layers, types, statistics of every weight')
    .description(
      'Prints every weight with shape, type, range, mean, deviation, outliers and histogram, by layer; for ONNX which modes suit the model, for GGUF the metadata. No weight is read with --no-stats.',
    )
    .argument('<model>', 'ONNX or GGUF file')
    .optionsGroup('Options:')
    .option('--stats', 'measure every weight (default: up to 8 GiB)')
    .option('--no-stats', 'do not read the weights: instant for models of any size')
    .option('--tensor <name>', 'show this weight in full; may be repeated', repeatOption)
    .addOption(
      new Option('--sort <by>', 'order of the weights').choices([
        'file',
        'name',
        'size',
        'range',
        'std',
        'outliers',
      ]),
    )
    .option('--top <n>', 'show the first n only', integerOption(1, 1e9))
    .option('--all', 'show single numbers too')
    .option('--html <file>', 'write a report with histograms to this file');
  finish(
    command,
    options,
    [
      ['whittle inspect model.onnx', 'all weights by layer'],
      ['whittle inspect model.onnx --sort outliers --top 10', 'the ten that lose most at few bits'],
      ['whittle inspect model.onnx --tensor encoder.0.weight', 'one weight in full'],
      ['whittle inspect model.onnx --html report.html', 'the same as a page'],
      ['whittle inspect model.gguf --no-stats', 'metadata and tensors, at once'],
      ['whittle inspect model.onnx --json | jq .tensors[0]', 'for programs'],
    ],
    async (context, [model = ''], flags: import('../inspect-any.ts').InspectWishes) =>
      (await import('../inspect-any.ts')).runInspectAny(context, model, flags),
  );
}

export function addDequantize(program: Command, options: ProgramOptions): void {
  const command = program
    .command('dequantize')
    .summary('back to float weights')
    .description(
      'Writes the model with float weights again; the values are those that the quantized model computes with. Activations that were rounded (ONNX) are float again, too, held to the ranges they had; docs/dequantize.md.',
    )
    .argument('<model>', 'quantized ONNX or GGUF file')
    .optionsGroup('Options:')
    .option('-o, --output <file>', 'output (default: <name>_<type>.onnx, <name>-<TYPE>.gguf)')
    .addOption(
      new Option('--to <type>', 'type of the weights; bf16 for GGUF')
        .choices(['f32', 'f16', 'bf16'])
        .default('f32'),
    )
    .option('-f, --force', 'replace an existing output')
    .addOption(
      new Option('--external-data <when>', 'weights in files of their own').choices([
        'auto',
        'always',
        'never',
      ]),
    )
    .option('--threads <n>', 'worker threads (default: all cores)', integerOption(1, 1024));
  finish(
    command,
    options,
    [
      ['whittle dequantize model_q4.onnx -o back.onnx', 'float32 weights'],
      ['whittle dequantize model_q4.onnx --to f16', 'float16 weights'],
      ['whittle dequantize model-Q4_K_M.gguf', 'model-Q4_K_M-F32.gguf'],
    ],
    async (context, [model = ''], flags: import('../dequantize.ts').DequantizeFlags, given) =>
      (await import('../dequantize.ts')).runDequantize(context, model, flags, given),
  );
}

export function addCompare(program: Command, options: ProgramOptions): void {
  const command = program
    .command('compare')
    .summary('two models: weight by weight, value by value, outputs, size, speed')
    .description(
      'Matches the weights of both models by name (quantized ones are dequantized) and, for ONNX, runs both on the same inputs; with --activations every inner value that both compute, the worst first.',
    )
    .argument('<a>', 'original file, ONNX or GGUF')
    .argument('<b>', 'file of the same format to compare with it')
    .optionsGroup('Options:')
    .option('--no-weights', 'do not compare the weights')
    .option('--no-run', 'do not run the models')
    .option('--top <n>', 'show the n that differ most (default: 20)', integerOption(1, 1e9))
    .option('--html <file>', 'write a report that is readable offline')
    .optionsGroup('Inner values (ONNX):')
    .option('--activations', 'compare what both compute inside, too')
    .option('--data <path>', 'run on this data, see docs/data.md (default: made-up inputs)')
    .option('--samples <n>', 'rows, or windows of a text, at most (default: 8)', integerOption(1, 1e9))
    .option('--sequence <n>', 'tokens of a window of text (default: 256)', integerOption(1, 1 << 20))
    .option('--seed <n>', 'of the choice of rows (default: 1)', integerOption(0, 2 ** 32 - 1))
    .option('--tokenizer <path>', "tokenizer.json (default: that of a's folder)")
    .option(
      '--preprocessing <json>',
      'of pictures: size, mean, std, layout, as JSON or a file with it; docs/data.md',
      preprocessingOption,
    )
    .option('--threads <n>', "threads of the engine (default: the engine's choice)", integerOption(1, 1024));
  addProofOptions(command);
  finish(
    command,
    options,
    [
      ['whittle compare model.onnx model_q4.onnx', 'both halves'],
      ['whittle compare a.onnx b.onnx --input x=sample.npy', 'outputs on a real input'],
      ['whittle compare a.onnx b.onnx --activations --data rows.json', 'where inside they part'],
      ['whittle compare model-f16.gguf model-Q4_K_M.gguf', 'every tensor, dequantized'],
      ['whittle compare a.onnx b.onnx --no-weights --min-cosine 0.99', 'a gate for scripts'],
    ],
    async (context, [a = '', b = ''], flags: import('../compare.ts').CompareFlags, given) =>
      (await import('../compare.ts')).runCompare(context, a, b, flags, given),
  );
}
