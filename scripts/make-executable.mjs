/**
 * Lets the programs of package.json's "bin" be started by name from a checkout (`dist/cli/main.js`, `npm link`): the
 * compiler writes plain files. Installing the package does the same by itself. Without effect on Windows.
 */

import { chmodSync, readFileSync } from 'node:fs';

const root = new URL('..', import.meta.url);
const { bin } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));
for (const path of Object.values(bin)) chmodSync(new URL(path, root), 0o755);
