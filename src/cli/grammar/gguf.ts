/** Grammar of the commands that are about GGUF files alone: types, imatrix, split, merge. */

import type { Command } from 'commander';
import { integerOption, sizeOption } from '../options.ts';
import { finish, type ProgramOptions } from './command.ts';

export function addTypes(program: Command, options: ProgramOptions): void {
  const command = program
    .command('types')
    .summary('the GGUF types: bits, blocks, what to expect')
    .description(
      'Lists what --to takes for a GGUF model, and the tensor types. With a name, prints its facts as JSON.',
    )
    .argument('[type]', 'one type');
  finish(
    command,
    options,
    [
      ['whittle types', 'the list'],
      ['whittle types q4_k', 'one type, by any of its names'],
    ],
    async (context, [type]) => (await import('../gguf/types.ts')).runTypes(context, type),
  );
}

export function addImatrix(program: Command, options: ProgramOptions): void {
  const command = program
    .command('imatrix')
    .summary('what is in an importance matrix; old form to GGUF')
    .description(
      'Shows datasets, chunks and the entries that matter most. Both forms of llama-imatrix are read.',
    )
    .argument('<file>', 'importance matrix, .dat or .gguf')
    .optionsGroup('Options:')
    .option('--to-gguf [file]', 'write it in the GGUF form (default: <name>.gguf)')
    .option('-f, --force', 'replace an existing output')
    .option('--top <n>', 'show the n most important entries (default: 20)', integerOption(1, 1e9))
    .option('--all', 'show all entries');
  finish(
    command,
    options,
    [
      ['whittle imatrix imatrix.dat', 'what it holds'],
      ['whittle imatrix imatrix.dat --to-gguf imatrix.gguf', 'the same as GGUF'],
    ],
    async (context, [file = ''], flags: import('../gguf/imatrix.ts').ImatrixFlags) =>
      (await import('../gguf/imatrix.ts')).runImatrix(context, file, flags),
  );
}

export function addSplit(program: Command, options: ProgramOptions): void {
  const command = program
    .command('split')
    .summary('a GGUF model in parts, as llama-gguf-split makes them')
    .description(
      'Writes <name>-00001-of-0000N.gguf. Every tensor stays whole; all metadata is in the first part.',
    )
    .argument('<model>', 'GGUF file')
    .optionsGroup('Options:')
    .option('--max-size <size>', 'bytes of tensors in a part, such as 2G or 500M (decimal)', sizeOption)
    .option('--max-tensors <n>', 'tensors in a part (default: 128)', integerOption(1, 1e9))
    .option('--no-tensor-first-split', 'the first part holds metadata only')
    .option('-o, --output <prefix>', 'where, and how the parts are named before -00001-of-…')
    .option('-f, --force', 'replace existing outputs')
    .option('--dry-run', 'print the parts and their sizes, write nothing');
  finish(
    command,
    options,
    [
      ['whittle split model.gguf --max-size 2G', 'parts below 2 GB'],
      ['whittle split model.gguf --max-tensors 128 -o parts/model', 'elsewhere'],
    ],
    async (context, [model = ''], flags: import('../gguf/split.ts').SplitFlags) =>
      (await import('../gguf/split.ts')).runSplit(context, model, flags),
  );
}

export function addMerge(program: Command, options: ProgramOptions): void {
  const command = program
    .command('merge')
    .summary('the parts of a GGUF model as one file')
    .description(
      'Finds the other parts by their names. A model that was split and merged is what it was, byte for byte.',
    )
    .argument('<part>', 'any part of the model')
    .optionsGroup('Options:')
    .option('-o, --output <path>', 'file or folder (default: <name>.gguf beside the parts)')
    .option('-f, --force', 'replace an existing output')
    .option('--dry-run', 'print the size, write nothing');
  finish(
    command,
    options,
    [['whittle merge model-00001-of-00003.gguf', 'model.gguf']],
    async (context, [part = ''], flags: Omit<import('../gguf/split.ts').SplitFlags, 'tensorFirstSplit'>) =>
      (await import('../gguf/split.ts')).runMerge(context, part, flags),
  );
}
