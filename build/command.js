import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/**
 * `npm start` and the other scripts that run a command: `node build/command.js serve`. It is JavaScript, because tsx runs
 * the sources, and may not be installed: then it runs the bundle, or says what is missing.
 */

const bundle = new URL('../dist/main.js', import.meta.url);

/** Whether a package can be imported from here. */
function isInstalled(name) {
  try {
    createRequire(import.meta.url).resolve(name);
    return true;
  } catch {
    return false;
  }
}

if (isInstalled('tsx')) {
  const { register } = await import('tsx/esm/api');
  register();
  await import('../handlers/command-line/main.ts');
} else if (existsSync(bundle)) {
  process.stderr.write('tsx is not installed, so this runs the bundle in dist/, not the sources.\n');
  await import(bundle.href);
} else {
  const folder = fileURLToPath(new URL('..', import.meta.url));
  process.stderr.write(
    `Expected tsx, which runs the sources, or a bundle in dist/, got neither in ${folder}. Run npm ci there. ` +
      'To run without development packages: npm ci && npm run build && npm prune --omit=dev\n',
  );
  process.exitCode = 1;
}
