import { expect, test } from 'vitest';
import { layoutOf } from '../../../checkpoint/weights/layout.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const transformers = { 'config.json': '{"architectures": ["CLIPModel"], "model_type": "clip"}' };
const timm = { 'config.json': '{"architecture": "vit_base_patch32_clip_224"}', 'model.safetensors': '' };
const openClip = { 'open_clip_config.json': '{}', 'open_clip_model.safetensors': '' };

test.each<readonly [what: string, files: Readonly<Record<string, string>>, library: 'transformers' | 'open_clip']>([
  ['an empty folder', {}, 'transformers'],
  ['files of transformers', { ...transformers, 'model.safetensors': '' }, 'transformers'],
  ['files of open_clip', openClip, 'open_clip'],
  ['a configuration of open_clip alone', { 'open_clip_config.json': '{}' }, 'open_clip'],
  ['files of both', { ...openClip, ...transformers, 'pytorch_model.bin': '' }, 'transformers'],
  ['shards of transformers', { ...openClip, ...transformers, 'model.safetensors.index.json': '' }, 'transformers'],
  ['files of both, without weights of transformers', { ...openClip, ...transformers }, 'open_clip'],
  ['files of open_clip and timm', { ...openClip, ...timm }, 'open_clip'],
  ['both configurations and no weights', { 'open_clip_config.json': '{}', ...transformers }, 'transformers'],
])('%s', (_, files, library) => {
  expect(layoutOf(temporaryFolder(files)).library).toBe(library);
});
