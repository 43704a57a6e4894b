/** Grammar of quantize: one command for both formats, its flags in groups; which flags fit a model is settled when it is known. */

import { type Command, Option } from 'commander';
import { integerOption, listOption, repeatOption } from '../options.ts';
import { finish, type ProgramOptions } from './command.ts';
import { addProofOptions } from './models.ts';

export function addQuantize(program: Command, options: ProgramOptions): void {
  const command = program
    .command('quantize')
    .alias('compress')
    .summary('write smaller files and prove that they run')
    .description(
      'Writes one file for each mode and model, named <name>_<suffix>.onnx beside the original unless -o says else, and runs original and result on the same inputs. A file appears only when it is complete.',
    )
    .argument('<model>', 'ONNX file, or a model folder in the layout of transformers.js')
    .optionsGroup('What to make:')
    .option('-t, --to <modes>', 'modes, e.g. q8,q4 (see: whittle modes)', listOption)
    .option('--recipe <file>', 'recipe as JSON or YAML; may be repeated', repeatOption)
    .option(
      '--target <names>',
      'runtimes that must run it (default: onnxruntime-web,onnxruntime-node)',
      listOption,
    )
    .optionsGroup('Full control, on top of the modes:')
    .option('--bits <n>', 'bits of a weight', integerOption(1, 16))
    .option('--block-size <n>', 'weights that share a scale', integerOption(1, 65536))
    .option('--symmetric', 'no zero points')
    .option('--asymmetric', 'with zero points')
    .option(
      '--accuracy-level <n>',
      'MatMulNBits: 0 exact, 4 activations rounded to int8 (fast)',
      integerOption(0, 4),
    )
    .option('--op-types <names>', 'only weights of these operators', listOption)
    .option('--include <glob>', 'only weights with such names; may be repeated', repeatOption)
    .option('--exclude <glob>', 'not weights with such names; may be repeated', repeatOption)
    .addOption(
      new Option('--embeddings <bits>', 'embedding tables as GatherBlockQuantized').choices([
        'keep',
        '4',
        '8',
      ]),
    )
    .optionsGroup('Output:')
    .option('-o, --output <path>', 'file (one mode) or folder')
    .option('-f, --force', 'replace existing outputs')
    .addOption(
      new Option('--external-data <when>', 'weights in files of their own').choices([
        'auto',
        'always',
        'never',
      ]),
    )
    .addOption(new Option('--nonfinite <policy>', 'weights that hold NaN or Inf').choices(['error', 'keep']))
    .option('--threads <n>', 'worker threads (default: all cores)', integerOption(1, 1024))
    .option('--measure', 'measure the error of each weight (default: up to 256 MiB)')
    .option('--no-measure', 'do not')
    .option('--dry-run', 'print the plan and the exact sizes, write nothing')
    .option('--save-plan <file>', 'write the plan as JSON')
    .option('--html <file>', 'write a report to this file')
    .optionsGroup('Proof:')
    .option('--verify', 'insist on the proof')
    .option('--no-verify', 'leave the proof out');
  addProofOptions(command);
  finish(
    command,
    options,
    [
      ['whittle quantize model.onnx --to q8', 'model_quantized.onnx beside it'],
      ['whittle quantize model.onnx --to q4,q4f16,fp16 --html report.html', 'three files and a report'],
      ['whittle quantize ./my-model --to q4', 'every session file of a model folder'],
      ['whittle quantize model.onnx --to q4 --dry-run', 'what would become of each weight'],
      ['whittle quantize model.onnx --to q4 --block-size 64 --exclude "lm_head*"', 'details'],
      ['whittle quantize rec.onnx --to uint8 --shape x=1,3,48,320', 'prove it on this input size'],
      ['whittle quantize model.onnx --recipe mine.yaml -o out/', 'a recipe of your own'],
    ],
    async (context, [model = ''], flags: import('../quantize.ts').QuantizeFlags) =>
      (await import('../quantize.ts')).runQuantize(context, model, flags),
  );
}
