import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fixtures, type GoldenClip, type OpenClipName, readGoldenJson } from './goldens.ts';
import type { Files } from './hub-server.ts';

/** What open_clip computed with its own files, by make_open_clip_goldens.py. */
interface OpenClipGoldens {
  readonly checkpoints: Readonly<Record<OpenClipName, Omit<GoldenClip, 'tokenized'>>>;
  /** With CLIP's whole vocabulary. */
  readonly tokenized: GoldenClip['tokenized'];
  /** The names of all pretrained checkpoints. */
  readonly pretrained: readonly string[];
}

export function readOpenClipGoldens(): OpenClipGoldens {
  return readGoldenJson<OpenClipGoldens>('open-clip.json');
}

export function openClipFolder(name: OpenClipName): string {
  return `${fixtures}open-clip/${name}`;
}

/** The files of such a checkpoint by their names. */
export function openClipFiles(name: OpenClipName): Files {
  const folder = openClipFolder(name);
  return Object.fromEntries(readdirSync(folder).map((file) => [file, readFileSync(join(folder, file))]));
}
