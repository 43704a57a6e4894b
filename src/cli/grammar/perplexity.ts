/** Grammar of `whittle perplexity`. */

import type { Command } from 'commander';
import { integerOption, numberOption } from '../options.ts';
import { finish, type ProgramOptions } from './command.ts';

export function addPerplexity(program: Command, options: ProgramOptions): void {
  const command = program
    .command('perplexity')
    .summary('how well GGUF models predict a text, and how far they are from a base')
    .description(
      'Runs GGUF models in llama.cpp (node-llama-cpp) over a text and prints the perplexity by the rule of llama-perplexity; with --base also the divergence from that model and how often both rank the same token first.',
    )
    .argument('<models...>', 'GGUF files')
    .requiredOption('--text <file>', 'text to predict (UTF-8)')
    .optionsGroup('Options:')
    .option('--base <file>', 'GGUF file to measure the divergence from, e.g. the f16 original')
    .option(
      '-c, --context <n>',
      'tokens of a window; its first half is not scored (default: 512)',
      integerOption(8, 1 << 20),
    )
    .option('--chunks <n>', 'windows to run (default: all that the text fills)', integerOption(1, 1e9))
    .option('--threads <n>', 'threads of llama.cpp (default: its own choice)', integerOption(1, 1024))
    .option('--gpu-layers <n>', 'layers on a graphics card (default: none)', integerOption(0, 100000))
    .option('--max-kl <x>', 'exit with 6 where a model is further from its base', numberOption(0, 1e9));
  finish(
    command,
    options,
    [
      ['whittle perplexity model-Q4_K_M.gguf --text wiki.test.raw', 'one figure'],
      ['whittle perplexity *-Q*.gguf --base model-f16.gguf --text eval.txt', 'a table of several'],
      ['whittle perplexity m.gguf --base f16.gguf --text eval.txt --max-kl 0.02', 'a gate for scripts'],
    ],
    async (context, files, flags: import('../perplexity.ts').PerplexityFlags) =>
      (await import('../perplexity.ts')).runPerplexity(context, files, flags),
  );
}
