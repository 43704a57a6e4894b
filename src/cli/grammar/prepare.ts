/** Grammar of `whittle prepare`. */

import { type Command, Option } from 'commander';
import { PREPARATIONS } from '../../planning/preparation.ts';
import { integerOption, listOption, preprocessingOption, shapeOption } from '../options.ts';
import { finish, type ProgramOptions } from './command.ts';

export function addPrepare(program: Command, options: ProgramOptions): void {
  const command = program
    .command('prepare')
    .summary('the float model, easier to quantize, computing the same')
    .description(
      'Writes an ONNX model after edits that leave what it computes unchanged and make its ranges even, proved by running both. quantize --prepare does the same on the way.',
    )
    .argument('<model>', 'ONNX file')
    .requiredOption('--passes <names>', 'what to do, e.g. equalize,smooth=0.5 (below)', listOption)
    .optionsGroup('Data:')
    .option('--data <path>', 'what the model is run on: a text, rows (.json .npy .npz …), images')
    .option('--samples <n>', 'samples (windows of a text) at most (default: 64)', integerOption(1, 1e9))
    .option('--sequence <n>', 'tokens of a window (default: 256)', integerOption(1, 1 << 20))
    .option('--seed <n>', 'of what is chosen at random (default: 1)', integerOption(0, 2 ** 32 - 1))
    .option('--tokenizer <path>', "tokenizer.json (default: that of the model's folder)")
    .option(
      '--preprocessing <json>',
      'of pictures: size, mean, std, layout, as JSON or a file with it; docs/data.md',
      preprocessingOption,
    )
    .option('--shape <name=dims>', 'shape of an input with open dimensions, e.g. x=1,3,48,320', shapeOption)
    .optionsGroup('Output:')
    .option('-o, --output <path>', 'file or folder (default: <name>_prepared.onnx beside the input)')
    .option('-f, --force', 'replace an existing output')
    .addOption(
      new Option('--external-data <when>', 'weights in files of their own').choices([
        'auto',
        'always',
        'never',
      ]),
    )
    .option('--threads <n>', 'worker threads (default: all cores)', integerOption(1, 1024))
    .option('--verify', 'insist on the proof')
    .option('--no-verify', 'leave the proof out');
  const width = Math.max(...Object.keys(PREPARATIONS).map((name) => name.length));
  const passes = Object.entries(PREPARATIONS).map(
    ([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`,
  );
  command.addHelpText('after', `\nPasses, in the order in which they run:\n${passes.join('\n')}`);
  finish(
    command,
    options,
    [
      ['whittle prepare cnn.onnx --passes fold-batchnorm,equalize', 'cnn_prepared.onnx, for any quantizer'],
      ['whittle prepare model.onnx --passes smooth --data text.txt', 'outliers out of the activations'],
    ],
    async (context, [model = ''], flags: import('../prepare.ts').PrepareFlags) =>
      (await import('../prepare.ts')).runPrepare(context, model, flags),
  );
}
