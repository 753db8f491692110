import { describe, expect, test } from 'vitest';
import { CheckpointError } from '../../../checkpoint/errors.ts';
import { knownModels } from '../../../checkpoint/hub/known-models.ts';
import { hubModelOf } from '../../../checkpoint/hub/open-clip-names.ts';
import { parseHubReference } from '../../../checkpoint/hub/reference.ts';
import { readOpenClipGoldens } from '../../support/open-clip.ts';
import { expectCheckpointError, thrownBy } from '../../support/thrown.ts';

const { pretrained } = readOpenClipGoldens();
/** Architectures of open_clip 3.3 that are CLIP's two transformers. */
const served = /^ViT-(?:B-32|B-32-256|B-16|B-16-plus-240|L-14|L-14-336|H-14|H-14-378|g-14|bigG-14)(?:-quickgelu)?:/;

describe('every pretrained checkpoint of open_clip', () => {
  test('is listed', () => {
    expect(pretrained.length).toBeGreaterThan(150);
    expect(pretrained.filter((name) => served.test(name)).length).toBeGreaterThan(60);
  });

  test.each(pretrained)('%s', (name) => {
    if (served.test(name)) {
      expect(parseHubReference(name)).toEqual({ name: hubModelOf(name), revision: 'main' });
      expect(hubModelOf(name.replace(':', '/'))).toBe(hubModelOf(name));
      return;
    }
    const error = thrownBy(() => hubModelOf(name));
    expect(error).toBeInstanceOf(CheckpointError);
    const { code, message } = error as CheckpointError; // The line above.
    expect(code).toBe('CHECKPOINT_ARCHITECTURE_UNSUPPORTED');
    const nearest = /The nearest that is served is (\S+)\.$/.exec(message)?.[1] ?? '';
    expect(hubModelOf(nearest)).toMatch(/^[\w.-]+\/[\w.-]+$/);
  });
});

test.each([
  ['ViT-B-32:openai', 'openai/clip-vit-base-patch32'],
  ['ViT-B-32-quickgelu:openai', 'openai/clip-vit-base-patch32'],
  ['ViT-B/32', 'openai/clip-vit-base-patch32'],
  ['ViT-B/32:openai', 'openai/clip-vit-base-patch32'],
  ['ViT-L/14@336px', 'openai/clip-vit-large-patch14-336'],
  ['ViT-L-14-336/openai', 'openai/clip-vit-large-patch14-336'],
  ['ViT-L-14:laion2b_s32b_b82k', 'laion/CLIP-ViT-L-14-laion2B-s32B-b82K'],
  ['ViT-H-14:LAION2B-s32B-b79K', 'laion/CLIP-ViT-H-14-laion2B-s32B-b79K'],
  ['ViT-B-16:laion400m_e32', 'timm/vit_base_patch16_clip_224.laion400m_e32'],
  ['hf-hub:apple/DFN5B-CLIP-ViT-H-14', 'apple/DFN5B-CLIP-ViT-H-14'],
])('%s is %s', (name, repository) => {
  expect(hubModelOf(name)).toBe(repository);
});

test.each(['openai/clip-vit-base-patch32', 'a/b', 'captioning', './ViT-B-32', 'coca_fan/model', 'toString:x', ''])(
  '%j is no name of open_clip',
  (name) => {
    expect(hubModelOf(name)).toBeUndefined();
  },
);

test('an architecture needs a tag that it has', () => {
  for (const name of ['ViT-B-32', 'ViT-B-32:', 'ViT-B-32:laion', 'ViT-B-32-quickgelu/toString'])
    expectCheckpointError(() => parseHubReference(name), 'CHECKPOINT_NOT_FOUND', [name, 'openai, laion400m_e31']);
});

test('a refusal says why, and what is near', () => {
  const parts = ['RN50:openai', 'a ResNet as image tower', 'ViT-B-32:openai'];
  expectCheckpointError(() => parseHubReference('RN50:openai'), 'CHECKPOINT_ARCHITECTURE_UNSUPPORTED', parts);
});

test('list_models has the best known ones', () => {
  const references = new Set(knownModels.map(({ reference }) => reference));
  const names = ['ViT-B-32:laion2b_s34b_b79k', 'ViT-L-14:laion2b_s32b_b82k', 'ViT-H-14:laion2b_s32b_b79k'];
  for (const name of names) expect(references).toContain(hubModelOf(name));
});
