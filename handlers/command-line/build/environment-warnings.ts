import { warnUnknownSettings } from '../../service/unknown-settings.ts';
import type { BuildOptions } from './build-options.ts';

/** Warns of options that will not do what is meant. */

const secret = /(?:TOKEN|SECRET|PASSWORD)S?$/;

function warn(message: string): void {
  process.stderr.write(`Warning: ${message}\n`);
}

/** Warns of variables of an image that nobody reads, or that everybody can read. */
export function warnOfEnvironment(environment: BuildOptions['environment']): void {
  warnUnknownSettings(environment, { warn: (details, message) => warn(`${Object.values(details)}: ${message}`) });
  for (const variable of Object.keys(environment).filter((name) => secret.test(name)))
    warn(`${variable} in an image can be read by everyone who has the image. Set it where the container starts.`);
}

/** Warns of keys of build.yaml that a folder has no place for. */
export function warnOfFolder({ environment, labels }: Pick<BuildOptions, 'environment' | 'labels'>): void {
  const idle = Object.entries({ environment, labels }).filter(([, values]) => Object.keys(values).length > 0);
  if (idle.length > 0) warn(`${idle.map(([name]) => name).join(' and ')} are for images, and not in the folder.`);
}
