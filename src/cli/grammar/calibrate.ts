/** Grammar of `whittle calibrate`. */

import type { Command } from 'commander';
import { axisOption, integerOption, preprocessingOption, repeatOption } from '../options.ts';
import { finish, type ProgramOptions } from './command.ts';

export function addCalibrate(program: Command, options: ProgramOptions): void {
  const command = program
    .command('calibrate')
    .summary('run data through a model and keep what its weights are multiplied with')
    .description(
      'Runs an ONNX model on data in onnxruntime-node and writes statistics of the inputs of every MatMul, Gemm and Conv: sums, magnitudes, squares, peaks, with --gram also the Gram matrix that GPTQ needs. The same sums can be written as an importance matrix for the GGUF file of the same model.',
    )
    .argument('<model>', 'ONNX file')
    .requiredOption('-o, --out <file>', 'statistics file to write')
    .optionsGroup('Data:')
    .option('--data <path>', 'what the model is run on (default: made-up inputs, which is marked)')
    .option('--tokenizer <path>', "tokenizer.json (default: that of the model's folder)")
    .option(
      '--preprocessing <json>',
      'of pictures: size, mean, std, layout, as JSON or a file with it; docs/data.md',
      preprocessingOption,
    )
    .option('--samples <n>', 'rows of the data at most (default: 64)', integerOption(1, 1e9))
    .option('--sequence <n>', 'tokens of a window of text (default: 256)', integerOption(1, 1 << 20))
    .option('--seed <n>', 'of the choice of rows (default: 1)', integerOption(0, 2 ** 32 - 1))
    .optionsGroup('Options:')
    .option('--gram', 'also the Gram matrix of each input: 4 × inputs² bytes')
    .option(
      '--tensors <glob>',
      'also extremes, sums and squares of these values; may be repeated',
      repeatOption,
    )
    .option(
      '--per-channel <axis>',
      'figures of these values for each place along an axis, e.g. 1 or -1',
      axisOption,
    )
    .option('--histograms', 'also their histograms')
    .option('--imatrix <file>', 'also an importance matrix (GGUF) for llama.cpp')
    .option('--resume', 'go on with the samples that the statistics file has not seen')
    .option('-f, --force', 'replace files that exist')
    .option(
      '--threads <n>',
      "threads of the runtime (default: the runtime's choice)",
      integerOption(1, 1024),
    );
  finish(
    command,
    options,
    [
      [
        'whittle calibrate model.onnx --data calib.txt --out model.stats',
        'statistics of 64 windows of a text',
      ],
      ['whittle calibrate model.onnx --data calib.txt --gram --out model.stats', 'with what GPTQ needs'],
      ['whittle calibrate model.onnx --data calib.txt --out m.stats --imatrix m.gguf', 'also for llama.cpp'],
      [
        'whittle calibrate cnn.onnx --data images/ --out m.stats --tensors "**conv*" --per-channel 1',
        'figures of each channel',
      ],
    ],
    async (context, args, flags: import('../calibrate.ts').CalibrateFlags) =>
      (await import('../calibrate.ts')).runCalibrate(context, args[0] ?? '', flags),
  );
}
