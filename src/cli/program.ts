/**
 * The command line's grammar: every command, flag, default and example. Nothing heavy is imported here; a command's own
 * file, and with it the library, is loaded when the command runs.
 */

import { Command, Option } from 'commander';
import { WhittleError } from '../errors.ts';
import { nearest } from '../planning/suggest.ts';
import type { Context, Streams } from './context.ts';
import {
  inputOption,
  integerOption,
  listOption,
  numberOption,
  repeatOption,
  shapeOption,
} from './options.ts';

/** What an action needs that the words do not say. */
export interface ProgramOptions {
  readonly version: string;
  /** Where help is printed. */
  readonly streams: Streams;
  /** Makes the context from the flags, once they are parsed. */
  readonly context: (flags: object) => Context;
  /** Exit code of the command that ran, where it is not 0. */
  readonly setExitCode: (code: number) => void;
}

const EXIT_CODES = `
Exit codes:
  0  done
  1  a bug in whittle
  2  wrong use: flags, recipe, existing output, missing runtime
  3  bad input file
  4  not supported: operator, type, target, or nothing to do
  5  the machine: file not found, access, disk full
  6  the proof failed: the model does not run, or is not similar enough
  130, 143  stopped by Ctrl-C, SIGTERM; nothing is left behind`;

function examples(lines: readonly (readonly [command: string, meaning: string])[]): string {
  const width = Math.max(...lines.map(([command]) => command.length));
  return `\nExamples:\n${lines.map(([command, meaning]) => `  ${command.padEnd(width)}  ${meaning}`).join('\n')}`;
}

export function createProgram(options: ProgramOptions): Command {
  const { stdout, stderr } = options.streams;
  const program = new Command('whittle')
    .description(
      'Makes trained neural networks smaller: measure, quantize, prove in the runtime, write ONNX.',
    )
    .version(options.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand(false)
    .optionsGroup('Everywhere:')
    .option('--json', 'print one JSON document on stdout, errors included')
    .option('-q, --quiet', 'no progress and no notes')
    .option('-v, --verbose', 'progress lines where stderr is no terminal')
    .addOption(
      new Option('--color <when>', 'colours; NO_COLOR is obeyed')
        .choices(['auto', 'always', 'never'])
        .default('auto'),
    )
    .configureHelp({
      showGlobalOptions: true,
      helpWidth: stdout.isTTY === true ? (stdout.columns ?? 80) : 100,
    })
    .showSuggestionAfterError(true)
    // Errors are thrown, and printed in one place (main.ts).
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      outputError: () => {},
    })
    .exitOverride();
  program.addHelpText(
    'after',
    examples([
      ['whittle inspect model.onnx', 'what is in the model, every weight measured'],
      ['whittle quantize model.onnx --to q8,q4', 'two smaller files, each run beside the original'],
      ['whittle quantize ./my-model --to q4f16', 'every session of a transformers.js folder'],
      ['whittle compare model.onnx model_q4.onnx', 'what was lost, weight by weight and at the outputs'],
      ['whittle modes', 'what q4, q8, bnb4 … mean and where they run'],
    ]).concat('\n', EXIT_CODES),
  );
  addInspect(program, options);
  addQuantize(program, options);
  addDequantize(program, options);
  addCompare(program, options);
  addModes(program, options);
  addCompletion(program, options);
  addHelp(program);
  return program;
}

/** Adds the help every command shares and wires its action: flags of the command and of the program in one object. */
function finish<Flags extends object>(
  command: Command,
  options: ProgramOptions,
  lines: readonly (readonly [string, string])[],
  run: (context: Context, args: readonly string[], flags: Flags) => Promise<number | undefined>,
): void {
  command.addHelpText('after', examples(lines));
  command.action(async () => {
    const flags = command.optsWithGlobals<Flags>();
    const code = await run(options.context(flags), command.args, flags);
    if (code !== undefined) options.setExitCode(code);
  });
}

function addProofOptions(command: Command): Command {
  return command
    .optionsGroup('Proof:')
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

function addInspect(program: Command, options: ProgramOptions): void {
  const command = program
    .command('inspect')
    .summary('what is in a model: layers, types, statistics of every weight')
    .description(
      'Prints every weight with shape, type, range, mean, deviation, outliers and histogram, by layer, and which modes suit the model. No weight is read with --no-stats.',
    )
    .argument('<model>', 'ONNX file')
    .optionsGroup('Options:')
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
      ['whittle inspect model.onnx --json | jq .tensors[0]', 'for programs'],
    ],
    async (context, [model = ''], flags: import('./inspect.ts').InspectFlags) =>
      (await import('./inspect.ts')).runInspect(context, model, flags),
  );
}

function addQuantize(program: Command, options: ProgramOptions): void {
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
    async (context, [model = ''], flags: import('./quantize.ts').QuantizeFlags) =>
      (await import('./quantize.ts')).runQuantize(context, model, flags),
  );
}

function addDequantize(program: Command, options: ProgramOptions): void {
  const command = program
    .command('dequantize')
    .summary('back to float weights')
    .description(
      'Writes the model with float weights again; the values are those that the quantized model computes with.',
    )
    .argument('<model>', 'quantized ONNX file')
    .optionsGroup('Options:')
    .option('-o, --output <file>', 'output (default: <name>_<type>.onnx)')
    .addOption(new Option('--to <type>', 'type of the weights').choices(['f32', 'f16']).default('f32'))
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
    ],
    async (context, [model = ''], flags: import('./dequantize.ts').DequantizeFlags) =>
      (await import('./dequantize.ts')).runDequantize(context, model, flags),
  );
}

function addCompare(program: Command, options: ProgramOptions): void {
  const command = program
    .command('compare')
    .summary('two models: weight by weight, outputs, size, speed')
    .description(
      'Matches the weights of both models by name (quantized ones are dequantized) and runs both on the same inputs.',
    )
    .argument('<a>', 'original ONNX file')
    .argument('<b>', 'ONNX file to compare with it')
    .optionsGroup('Options:')
    .option('--no-weights', 'do not compare the weights')
    .option('--no-run', 'do not run the models')
    .option('--top <n>', 'show the n weights that differ most (default: 20)', integerOption(1, 1e9));
  addProofOptions(command);
  finish(
    command,
    options,
    [
      ['whittle compare model.onnx model_q4.onnx', 'both halves'],
      ['whittle compare a.onnx b.onnx --input x=sample.npy', 'outputs on a real input'],
      ['whittle compare a.onnx b.onnx --no-weights --min-cosine 0.99', 'a gate for scripts'],
    ],
    async (context, [a = '', b = ''], flags: import('./compare.ts').CompareFlags) =>
      (await import('./compare.ts')).runCompare(context, a, b, flags),
  );
}

/** Our own, since the parser's answers to an unknown command with an error that has no text. */
function addHelp(program: Command): void {
  const command = program
    .command('help')
    .summary('show help of a command')
    .description('Shows help of a command.')
    .argument('[command]', 'command');
  command.action((name: string | undefined) => {
    if (name === undefined) return program.outputHelp();
    const found = program.commands.find((one) => one.name() === name || one.aliases().includes(name));
    if (found === undefined) throw unknownCommand(name, program);
    return found.outputHelp();
  });
}

function unknownCommand(name: string, program: Command): WhittleError {
  const names = program.commands.flatMap((one) => [one.name(), ...one.aliases()]);
  const close = nearest(name, names);
  return new WhittleError('E_USAGE', `unknown command '${name}'`, {
    expected: names.join(', '),
    hint: close === undefined ? undefined : `Did you mean ${close}?`,
  });
}

function addModes(program: Command, options: ProgramOptions): void {
  const command = program
    .command('modes')
    .summary('the modes: bits, form in the file, where they run')
    .description('Lists what --to takes. With a name, prints its recipe, ready to be changed.')
    .argument('[mode]', 'print the recipe of this mode');
  finish(
    command,
    options,
    [
      ['whittle modes', 'the list'],
      ['whittle modes q4 > mine.json', 'a recipe to start from'],
    ],
    async (context, [mode]) => (await import('./modes.ts')).runModes(context, mode),
  );
}

function addCompletion(program: Command, options: ProgramOptions): void {
  const command = program
    .command('completion')
    .summary('completion script for your shell')
    .description('Prints a script that completes commands, flags, modes and file names.')
    .addArgument(program.createArgument('<shell>', 'your shell').choices(['bash', 'zsh', 'fish']));
  finish(
    command,
    options,
    [
      ['source <(whittle completion bash)', 'in ~/.bashrc'],
      ['source <(whittle completion zsh)', 'in ~/.zshrc, after compinit'],
      ['whittle completion fish > ~/.config/fish/completions/whittle.fish', 'once'],
    ],
    async (context, [shell = '']) => (await import('./completion.ts')).runCompletion(context, shell, program),
  );
}
