/**
 * What the compiler leaves undone.
 *
 * The programs of package.json's "bin" may be started by name from a checkout (`dist/cli/main.js`, `npm link`): the compiler
 * writes plain files. Installing the package does the same by itself. Without effect on Windows.
 *
 * Outputs in dist/ whose source is gone are removed: the compiler never does, and they would be published.
 *
 * Imports in dist/ must name what is there. The compiler leaves `import('./x.ts')` as it is where it rewrites the statement around it
 * (`await using` inside a block): the tests import sources and would not notice.
 */

import { chmodSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
for (const path of Object.values(bin)) chmodSync(join(root, path), 0o755);

for (const name of readdirSync(join(root, 'dist'), { recursive: true })) {
  const source = name.replace(/\.(?:js|d\.ts)(?:\.map)?$/, '.ts');
  if (source === name || existsSync(join(root, 'src', source))) continue;
  rmSync(join(root, 'dist', name));
}

const broken = readdirSync(join(root, 'dist'), { recursive: true }).filter(
  (name) =>
    name.endsWith('.js') &&
    /(?:import\(|from )\s*['"]\.[^'"]*\.ts['"]/.test(readFileSync(join(root, 'dist', name), 'utf8')),
);
if (broken.length > 0) {
  process.stderr.write(`imports of .ts files are left in dist/: ${broken.join(', ')}\n`);
  process.exitCode = 1;
}
