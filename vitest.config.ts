/**
 * Two projects, one set of promises: `node` runs everything, `browser` runs the conformance suites of test/browser in
 * Chromium. The browser project is there only where a Chromium is (WHITTLE_CHROMIUM or the usual places).
 */

import { existsSync } from 'node:fs';
import { playwright } from '@vitest/browser-playwright';
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';

const chromium = [process.env.WHITTLE_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser'].find(
  (path): path is string => path !== undefined && existsSync(path),
);

const node: TestProjectInlineConfiguration = {
  test: {
    name: 'node',
    include: ['test/**/*.test.ts'],
    exclude: ['test/browser/**'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
};

function browser(executablePath: string): TestProjectInlineConfiguration {
  return {
    test: {
      name: 'browser',
      include: ['test/browser/**/*.test.ts'],
      testTimeout: 60_000,
      browser: {
        enabled: true,
        headless: true,
        screenshotFailures: false,
        provider: playwright({
          launchOptions: {
            executablePath,
            args: [
              '--no-sandbox',
              '--disable-gpu',
              '--disable-background-networking',
              '--disable-component-update',
              '--disable-sync',
              '--no-first-run',
            ],
          },
        }),
        instances: [{ browser: 'chromium' }],
      },
    },
  };
}

if (chromium === undefined) {
  console.warn('No Chromium found: the browser project is skipped (set WHITTLE_CHROMIUM to run it).');
}

export default defineConfig({
  test: { projects: chromium === undefined ? [node] : [node, browser(chromium)] },
});
