import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * npm runs this script, `prepare`, when it installs the package from a Git repository, and no other script. It bundles
 * then. npm also runs it after every `npm ci`, which needs no bundle, and when it packs, where `prepack` has bundled.
 */

const { npm_package_resolved: packedFrom, npm_command: command = '' } = process.env;
const isInstalledFromGit = packedFrom !== undefined && !['pack', 'publish'].includes(command);
if (isInstalledFromGit) {
  const folder = fileURLToPath(new URL('..', import.meta.url));
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', 'build/bundle.ts', '--package'], {
    cwd: folder,
    stdio: 'inherit',
  });
  process.exitCode = status ?? 1;
}
