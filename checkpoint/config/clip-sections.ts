import type { JsonSection } from '../files/json-file.ts';
import { subsection } from '../files/json-section.ts';

/** A part of a configuration, and a line for the log where the file says two things of it. */
interface Part<Config> {
  readonly part: Config;
  readonly warnings: readonly string[];
}

/**
 * Reads a section of a CLIP config.json as transformers 5.18 does (models/clip/configuration_clip.py, `CLIPConfig`). Files
 * written before 2023 may have a `text_config_dict` or `vision_config_dict`. It replaces the whole section: keys that it
 * lacks take their defaults, whatever the section says.
 * @throws the errors of `read`.
 */
export function readClipSection<Config extends object>(
  config: JsonSection,
  key: 'text_config' | 'vision_config',
  read: (section: JsonSection) => Config,
): Part<Config> {
  const olderKey = `${key}_dict`;
  if ((config.values[olderKey] ?? undefined) === undefined)
    return { part: read(subsection(config, key)), warnings: [] };
  const part = read(subsection(config, olderKey));
  if ((config.values[key] ?? undefined) === undefined) return { part, warnings: [] };
  const replaced = new Map<string, unknown>(Object.entries(read(subsection(config, key))));
  const names = Object.entries(part).filter(([name, value]) => !isSame(replaced.get(name), value));
  if (names.length === 0) return { part, warnings: [] };
  const list = names.map(([name]) => snakeCase(name)).join(', ');
  return {
    part,
    warnings: [`${config.path}: ${olderKey} replaces ${key}, as in transformers. They differ in ${list}.`],
  };
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
