/** Grammar of `whittle evaluate`. */

import { type Command, Option } from 'commander';
import { integerOption, numberOption, preprocessingOption } from '../options.ts';
import { finish, type ProgramOptions } from './command.ts';

export function addEvaluate(program: Command, options: ProgramOptions): void {
  const command = program
    .command('evaluate')
    .summary('what models are worth on data: accuracy, perplexity, divergence, speed, memory')
    .description(
      'Runs models over a data set, each beside the original where one is named: accuracy or perplexity, divergence and output error, size, load time, latency and memory; with --layers, which layers hurt and what each would cost to keep.',
    )
    .argument('<models...>', 'ONNX files, or GGUF files')
    .requiredOption('--data <path>', 'what they are run on: a text, rows, images; docs/data.md')
    .optionsGroup('Options:')
    .option('--against <file>', 'the original that they were made from')
    .option('--samples <n>', 'rows, or windows of a text, at most (default: all)', integerOption(1, 1e9))
    .option(
      '--sequence <n>',
      'tokens of a window of text (default: 256; GGUF: 512)',
      integerOption(8, 1 << 20),
    )
    .option(
      '--seed <n>',
      'of the choice where there are more rows than --samples',
      integerOption(0, 2 ** 32 - 1),
    )
    .option('--tokenizer <file>', "tokenizer.json for a text (default: the model folder's)")
    .option(
      '--preprocessing <json>',
      'of pictures: size, mean, std, layout, as JSON or a file with it; docs/data.md',
      preprocessingOption,
    )
    .option('--scores <output>', 'output whose last axis holds scores (default: found by name)')
    .option('--layers', 'judge every changed layer, and what it would cost to keep; needs --against')
    .option('--layer-samples <n>', 'samples that each layer is tried on (default: 8)', integerOption(1, 1e6))
    .option('--top <n>', 'show the n worst layers (default: 15)', integerOption(1, 1e9))
    .addOption(
      new Option('--runtime <engine>', 'engine that runs ONNX models')
        .choices(['onnxruntime-node', 'onnxruntime-web'])
        .default('onnxruntime-node'),
    )
    .option('--runs <n>', 'timed runs, at least; the median counts (default: 5)', integerOption(1, 1e6))
    .option('--no-cost', 'do not measure load time, latency and memory')
    .option('--threads <n>', "threads of the engine (default: the engine's choice)", integerOption(1, 1024))
    .option('--html <file>', 'write a report that is readable offline')
    .option(
      '--max-kl <x>',
      'exit with 6 where a model is further from the original, nats',
      numberOption(0, 1e9),
    )
    .option(
      '--min-accuracy <x>',
      'exit with 6 where a model is right less often, 0 to 1',
      numberOption(0, 1),
    );
  finish(
    command,
    options,
    [
      ['whittle evaluate model_q4.onnx --against model.onnx --data eval.txt', 'perplexity and divergence'],
      [
        'whittle evaluate q4.onnx q8.onnx --against f32.onnx --data rows.json',
        'accuracy, where rows have labels',
      ],
      [
        'whittle evaluate q4.onnx --against f32.onnx --data eval.txt --layers --html r.html',
        'which layers hurt',
      ],
      ['whittle evaluate m-Q4_K_M.gguf --against m-f16.gguf --data eval.txt', 'in llama.cpp'],
    ],
    async (context, files, flags: import('../evaluate.ts').EvaluateFlags) =>
      (await import('../evaluate.ts')).runEvaluate(context, files, flags),
  );
}
