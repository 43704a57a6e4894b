/** Grammar of quantize: one command for both formats, its flags in groups; which flags fit a model is settled when it is known. */

import { type Command, Option } from 'commander';
import { LOSS_NAMES } from '../../compress/max-loss/names.ts';
import { ALGORITHM_NAMES } from '../../compress/solve/names.ts';
import { PREPARATION_NAMES } from '../../planning/preparation.ts';
import { lossOption } from '../loss-flags.ts';
import { integerOption, listOption, placedOption, preprocessingOption, repeatOption } from '../options.ts';
import { finish, type ProgramOptions } from './command.ts';
import { addProofOptions } from './models.ts';

export function addQuantize(program: Command, options: ProgramOptions): void {
  const typeRule = placedOption();
  const command = program
    .command('quantize')
    .alias('compress')
    .summary('write smaller files and prove that they run')
    .description(
      'Writes one file for each mode or type. ONNX: <name>_<suffix>.onnx beside the original unless -o says else, proved by running original and result on the same inputs. GGUF: <name>-<TYPE>.gguf, the same bytes as llama-quantize. A file appears only when it is complete.',
    )
    .argument('<model>', 'ONNX or GGUF file, or a model folder in the layout of transformers.js')
    .argument('[words...]', 'GGUF, as for llama-quantize: [out.gguf] TYPE [threads]')
    .optionsGroup('What to make:')
    .option(
      '-t, --to <names>',
      'ONNX: modes, e.g. q8,q4 (whittle modes); GGUF: types, e.g. Q4_K_M (whittle types)',
      listOption,
    )
    .optionsGroup('ONNX, on top of the modes:')
    .option('--recipe <file>', 'recipe as JSON or YAML; may be repeated', repeatOption)
    .option(
      '--target <names>',
      'runtimes that must run it (default: onnxruntime-web,onnxruntime-node)',
      listOption,
    )
    .option('--bits <n>', 'bits of a weight', integerOption(1, 16))
    .option('--block-size <n>', 'weights that share a scale', integerOption(1, 65536))
    .option('--symmetric', 'no zero points')
    .option('--asymmetric', 'with zero points')
    .option(
      '--accuracy-level <n>',
      'MatMulNBits: 0 exact, 4 activations rounded to int8 (fast)',
      integerOption(0, 4),
    )
    .addOption(
      new Option(
        '--zero-points <kind>',
        'MatMulNBits: real ones of 2 and 4 bits are closer to the original; 2 or 4 bytes a block more, slow for single rows on node',
      ).choices(['integer', 'real']),
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
    .addOption(
      new Option('--external-data <when>', 'weights in files of their own').choices([
        'auto',
        'always',
        'never',
      ]),
    )
    .addOption(new Option('--nonfinite <policy>', 'weights that hold NaN or Inf').choices(['error', 'keep']))
    .optionsGroup('Quality from data (docs/algorithms.md); --prepare and solutions for ONNX only:')
    .option(
      '--prepare <passes>',
      `edits of the float model that leave what it computes unchanged: ${PREPARATION_NAMES.join(', ')} (docs/prepare.md)`,
      listOption,
    )
    .addOption(
      new Option(
        '--algorithm <name>',
        'how the codes of the weights are chosen (best: slow, on IQ2 and IQ3 of GGUF very slow)',
      ).choices(ALGORITHM_NAMES),
    )
    .option(
      '--bias-correction',
      'take back by how much quantizing moves the means of outputs, in biases that there are (data)',
    )
    .option('--save-solution <file>', 'keep what was solved (.safetensors, layout of GPTQ and bitsandbytes)')
    .option('--solution <file>', 'take weights that were solved before from such a file')
    .option(
      '--data <path>',
      'what the model is run on: a text, rows (.json .npy .npz …), images; docs/data.md',
    )
    .option('--samples <n>', 'samples (windows of a text) at most (default: 64)', integerOption(1, 1e9))
    .option('--sequence <n>', 'tokens of a window (default: 256)', integerOption(1, 1 << 20))
    .option('--seed <n>', 'of what is chosen at random (default: 1)', integerOption(0, 2 ** 32 - 1))
    .option('--tokenizer <path>', "tokenizer.json (default: that of the model's folder)")
    .option(
      '--preprocessing <json>',
      'of pictures: size, mean, std, layout, as JSON or a file with it; docs/data.md',
      preprocessingOption,
    )
    .optionsGroup('ONNX, how much may be lost (docs/evaluate.md):')
    .option(
      '--max-loss <x>',
      'keep the worst layers of each mode as they are until no more is lost than this, on data that is held out',
      lossOption,
    )
    .addOption(
      new Option(
        '--loss <measure>',
        'points of accuracy, percent of perplexity, nats, or percent of output error (default: the first that the data tells)',
      ).choices(LOSS_NAMES),
    )
    .option('--evaluate-data <path>', 'what the loss is measured on (default: a part of --data)')
    .option(
      '--evaluate-samples <n>',
      'of them at most (default: 512 with labels, else 64)',
      integerOption(1, 1e9),
    )
    .optionsGroup('GGUF, under the names of llama-quantize:')
    .option('--imatrix <file>', 'importance matrix, either form')
    .option(
      '--onnx <file>',
      'the same model in ONNX: --algorithm with --data or --statistics learns from it what the layers see',
    )
    .option('--statistics <file>', 'what whittle calibrate --gram saved of that, in the place of --data')
    .option(
      '--include-weights <text>',
      'use only entries with this in their name; may be repeated',
      repeatOption,
    )
    .option('--exclude-weights <text>', 'do not use such entries; may be repeated', repeatOption)
    .option('--pure', 'one type for all weights, no mixture')
    .option('--leave-output-tensor', 'keep output.weight as it is')
    .option('--output-tensor-type <type>', 'type of output.weight')
    .option('--token-embedding-type <type>', 'type of the token embeddings')
    .option(
      '--tensor-type <regex=type>',
      'type of weights by name; the first match wins; may be repeated',
      typeRule,
    )
    .option('--tensor-type-file <file>', 'a file of such rules; may be repeated', typeRule)
    .option('--prune-layers <list>', 'layers to leave out, e.g. 3,4,15')
    .option(
      '--override-kv <key=type:value>',
      'metadata: int, float, bool or str; may be repeated',
      repeatOption,
    )
    .option('--allow-requantize', 'take weights that are quantized already')
    .option('--keep-split', 'as many files as the input has')
    .optionsGroup('Output:')
    .option('-o, --output <path>', 'file (one mode) or folder')
    .option('-f, --force', 'replace existing outputs')
    .option('--resume', 'go on where the same run was stopped')
    .option('--sha256', 'print the SHA-256 of every output')
    .option('--threads <n>', 'worker threads (default: all cores)', integerOption(1, 1024))
    .option('--measure', 'measure the error of each weight (default: up to 256 MiB)')
    .option('--no-measure', 'do not')
    .option('--dry-run', 'print the plan and the exact sizes, write nothing')
    .option('--all', 'GGUF, with --dry-run: sizes and measured errors of every type')
    .option('--save-plan <file>', 'write the plan as JSON')
    .option('--html <file>', 'write a report to this file')
    .optionsGroup('Proof (ONNX):')
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
      [
        'whittle quantize model.onnx --to q4 --algorithm gptq --data text.txt',
        'weights chosen by what their layers see',
      ],
      [
        'whittle quantize model.onnx --to q4 --data rows.json --max-loss 0.5',
        'keep what it takes to lose at most half a point of accuracy',
      ],
      ['whittle quantize rec.onnx --to uint8 --shape x=1,3,48,320', 'prove it on this input size'],
      ['whittle quantize model.onnx --recipe mine.yaml -o out/', 'a recipe of your own'],
      ['whittle quantize model-f16.gguf --to Q4_K_M', 'model-Q4_K_M.gguf, as llama-quantize writes it'],
      [
        'whittle quantize model.gguf --to Q4_K_M,Q8_0 --imatrix imatrix.gguf',
        'two files, one guided by the matrix',
      ],
      [
        'whittle quantize model-f16.gguf --to Q4_K_M --algorithm gptq --data text.txt --onnx model.onnx',
        'weights chosen by what their layers see',
      ],
      ['whittle quantize model.gguf --dry-run --all', 'size and error of every type for this model'],
      ['whittle quantize in.gguf out.gguf Q4_K_M 8', 'as you would type it for llama-quantize'],
    ],
    async (context, [model = '', ...words], flags: import('../quantize-any.ts').AnyQuantizeFlags, given) =>
      (await import('../quantize-any.ts')).runQuantizeAny(context, model, words, flags, given),
  );
}
