/**
 * The command line's grammar: every command, flag, default and example. Nothing heavy is imported here; a command's own
 * file, and with it the library, is loaded when the command runs.
 */

import { Command, Option } from 'commander';
import { nearest } from '../core/nearest.ts';
import { WhittleError } from '../errors.ts';
import { addCalibrate } from './grammar/calibrate.ts';
import { examples, finish, type ProgramOptions } from './grammar/command.ts';
import { addEvaluate } from './grammar/evaluate.ts';
import { addImatrix, addMerge, addSplit, addTypes } from './grammar/gguf.ts';
import { addCompare, addDequantize, addInspect } from './grammar/models.ts';
import { addPerplexity } from './grammar/perplexity.ts';
import { addPrepare } from './grammar/prepare.ts';
import { addQuantize } from './grammar/quantize.ts';

export type { ProgramOptions } from './grammar/command.ts';

const EXIT_CODES = `
Exit codes:
  0  done
  1  a bug in whittle
  2  wrong use: flags, recipe, existing output, missing runtime, not the run to resume
  3  bad input file
  4  not supported: operator, type, target, or nothing to do
  5  the machine: file not found, access, disk full
  6  the proof failed: the model does not run, or is not similar enough
  130, 143  stopped by Ctrl-C, SIGTERM; a long run goes on with --resume`;

export function createProgram(options: ProgramOptions): Command {
  const { stdout, stderr } = options.streams;
  const program = new Command('whittle')
    .description(
      'Makes trained neural networks smaller: measure, quantize, prove in the runtime; ONNX and GGUF.',
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
      ['whittle quantize model-f16.gguf --to Q4_K_M', 'GGUF: what llama-quantize writes, byte for byte'],
      ['whittle quantize model-f16.gguf --dry-run --all', 'size and error of every GGUF type for this model'],
    ]).concat('\n', EXIT_CODES),
  );
  addInspect(program, options);
  addQuantize(program, options);
  addDequantize(program, options);
  addPrepare(program, options);
  addCompare(program, options);
  addEvaluate(program, options);
  addPerplexity(program, options);
  addCalibrate(program, options);
  addModes(program, options);
  addTypes(program, options);
  addImatrix(program, options);
  addSplit(program, options);
  addMerge(program, options);
  addCompletion(program, options);
  addHelp(program);
  return program;
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
