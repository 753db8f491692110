import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describeAdapter } from './config/adapter-config.ts';
import { type Architecture, architectures, findArchitecture, openClipModel } from './config/architectures.ts';
import type { Blip2RetrievalSettings, Blip2Settings, BlipSettings, ClipSettings } from './config/families.ts';
import { CheckpointError } from './errors.ts';
import { readJsonFile } from './files/json-file.ts';
import { type QuantizedPrecision, readQuantizedPrecision } from './weights/int8-format.ts';
import { layoutOf, openClipLayout } from './weights/layout.ts';
import { weightsFilesOf } from './weights/weights-files.ts';

interface CheckpointFolder {
  readonly folder: string;
  readonly architecture: Architecture;
  /** The precision that `quantize` gave the layers' matrices; `undefined` where they are floats. */
  readonly quantizedTo: QuantizedPrecision | undefined;
}

/** The settings of a checkpoint folder, apart from its weights and its tokenizer: plain data, told apart by `task`. */
export type Checkpoint = CheckpointFolder & ReturnType<(typeof architectures)[Architecture]['read']>;

/** A checkpoint of BLIP: captioning, question answering or retrieval. */
export type BlipCheckpoint = Extract<Checkpoint, BlipSettings>;

/** A checkpoint of BLIP-2 or InstructBLIP that writes. */
export type Blip2Checkpoint = Extract<Checkpoint, Blip2Settings>;

/** A checkpoint of BLIP-2 that compares images with texts. */
export type Blip2RetrievalCheckpoint = Extract<Checkpoint, Blip2RetrievalSettings>;

export type ClipCheckpoint = Extract<Checkpoint, ClipSettings>;

/**
 * Opens a folder in Hugging Face layout, or in open_clip's. Reads only its JSON files, and writes nothing.
 * @param imageSize pixels of each side where they are not the checkpoint's: its position embeddings are interpolated.
 * @throws CheckpointError naming the file, what was expected and what is there.
 */
export function openCheckpoint(folder: string, imageSize?: number): Checkpoint {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new CheckpointError('CHECKPOINT_NOT_FOUND', `${folder}: expected a checkpoint folder, got no such folder.`);
  }
  const { library, configFile } = layoutOf(folder);
  const config = readJsonFile(join(folder, configFile));
  if (config === undefined) {
    const got = describeAdapter(folder) ?? describeOpenClip(folder) ?? describeInner(folder) ?? 'none';
    throw new CheckpointError('CHECKPOINT_CONFIG_INVALID', `${folder}: expected a config.json, got ${got}.`);
  }
  const architecture = library === 'open_clip' ? 'CLIPModel' : findArchitecture(config);
  const quantizedTo = readQuantizedPrecision(config);
  const { read } = library === 'open_clip' ? openClipModel : architectures[architecture];
  const description = read({ folder, config, imageSize });
  const notices = [...description.notices, ...adapterNotices(folder)];
  return { ...description, notices, folder, architecture, quantizedTo };
}

/** A state dict of open_clip does not say what its model is made of. */
function describeOpenClip(folder: string): string | undefined {
  const weights = weightsFilesOf(openClipLayout.forms).find((file) => existsSync(join(folder, file)));
  return weights && `${weights} without its ${openClipLayout.configFile}`;
}

/**
 * A checkpoint in a folder of this one: a training script's last `checkpoint-500`, or the snapshot of a model in the Hub's
 * cache.
 */
function describeInner(folder: string): string | undefined {
  const snapshots = join(folder, 'snapshots');
  const parent = existsSync(snapshots) ? snapshots : folder;
  const isCheckpoint = (name: string) =>
    ['config.json', openClipLayout.configFile, 'adapter_config.json'].some((file) =>
      existsSync(join(parent, name, file)),
    );
  const inner = readdirSync(parent).filter(isCheckpoint);
  const last = inner.sort((one, other) => one.localeCompare(other, 'en', { numeric: true })).at(-1);
  return last === undefined ? undefined : `a checkpoint in a folder of it: name ${join(parent, last)}`;
}

/** transformers applies an adapter that lies beside its base. */
function adapterNotices(folder: string): readonly string[] {
  const adapter = describeAdapter(folder);
  if (adapter === undefined) return [];
  return [`${folder}: the model is served without the adapter beside it: ${adapter}.`];
}

/** The part of a model that reads or writes texts: BLIP's or CLIP's own, a language model, or a Q-Former. */
export function textPartOf(config: Checkpoint['config']) {
  if ('text' in config) return config.text;
  return 'language' in config ? config.language : config.qFormer;
}

/** Two families compare images with texts. */
export function isBlip2Retrieval(
  checkpoint: BlipCheckpoint | Blip2RetrievalCheckpoint,
): checkpoint is Blip2RetrievalCheckpoint {
  return 'qFormer' in checkpoint.config;
}
