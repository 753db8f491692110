import { CheckpointError } from '../errors.ts';
import { refusalOf } from './open-clip-refusals.ts';

/**
 * Pretrained checkpoints of open_clip 3.3 (open_clip/pretrained.py) whose architectures are served: for each architecture,
 * the Hub's repository of each tag. OpenAI's are in Hugging Face layout there. The others are where open_clip gets them
 * from; most of LAION's have the files of both layouts, and timm's those of open_clip.
 */
const repositories: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'ViT-B-32': {
    openai: 'openai/clip-vit-base-patch32',
    laion400m_e31: 'timm/vit_base_patch32_clip_224.laion400m_e31',
    laion400m_e32: 'timm/vit_base_patch32_clip_224.laion400m_e32',
    laion2b_e16: 'timm/vit_base_patch32_clip_224.laion2b_e16',
    laion2b_s34b_b79k: 'laion/CLIP-ViT-B-32-laion2B-s34B-b79K',
    datacomp_xl_s13b_b90k: 'laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K',
    datacomp_m_s128m_b4k: 'laion/CLIP-ViT-B-32-DataComp.M-s128M-b4K',
    commonpool_m_clip_s128m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.M.clip-s128M-b4K',
    commonpool_m_laion_s128m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.M.laion-s128M-b4K',
    commonpool_m_image_s128m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.M.image-s128M-b4K',
    commonpool_m_text_s128m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.M.text-s128M-b4K',
    commonpool_m_basic_s128m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.M.basic-s128M-b4K',
    commonpool_m_s128m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.M-s128M-b4K',
    datacomp_s_s13m_b4k: 'laion/CLIP-ViT-B-32-DataComp.S-s13M-b4K',
    commonpool_s_clip_s13m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.S.clip-s13M-b4K',
    commonpool_s_laion_s13m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.S.laion-s13M-b4K',
    commonpool_s_image_s13m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.S.image-s13M-b4K',
    commonpool_s_text_s13m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.S.text-s13M-b4K',
    commonpool_s_basic_s13m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.S.basic-s13M-b4K',
    commonpool_s_s13m_b4k: 'laion/CLIP-ViT-B-32-CommonPool.S-s13M-b4K',
    metaclip_400m: 'timm/vit_base_patch32_clip_224.metaclip_400m',
    metaclip_fullcc: 'timm/vit_base_patch32_clip_224.metaclip_2pt5b',
  },
  'ViT-B-32-256': {
    datacomp_s34b_b86k: 'laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K',
  },
  'ViT-B-16': {
    openai: 'openai/clip-vit-base-patch16',
    laion400m_e31: 'timm/vit_base_patch16_clip_224.laion400m_e31',
    laion400m_e32: 'timm/vit_base_patch16_clip_224.laion400m_e32',
    laion2b_s34b_b88k: 'laion/CLIP-ViT-B-16-laion2B-s34B-b88K',
    datacomp_xl_s13b_b90k: 'laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K',
    datacomp_l_s1b_b8k: 'laion/CLIP-ViT-B-16-DataComp.L-s1B-b8K',
    commonpool_l_clip_s1b_b8k: 'laion/CLIP-ViT-B-16-CommonPool.L.clip-s1B-b8K',
    commonpool_l_laion_s1b_b8k: 'laion/CLIP-ViT-B-16-CommonPool.L.laion-s1B-b8K',
    commonpool_l_image_s1b_b8k: 'laion/CLIP-ViT-B-16-CommonPool.L.image-s1B-b8K',
    commonpool_l_text_s1b_b8k: 'laion/CLIP-ViT-B-16-CommonPool.L.text-s1B-b8K',
    commonpool_l_basic_s1b_b8k: 'laion/CLIP-ViT-B-16-CommonPool.L.basic-s1B-b8K',
    commonpool_l_s1b_b8k: 'laion/CLIP-ViT-B-16-CommonPool.L-s1B-b8K',
    dfn2b: 'apple/DFN2B-CLIP-ViT-B-16',
    metaclip_400m: 'timm/vit_base_patch16_clip_224.metaclip_400m',
    metaclip_fullcc: 'timm/vit_base_patch16_clip_224.metaclip_2pt5b',
  },
  'ViT-B-16-plus-240': {
    laion400m_e31: 'timm/vit_base_patch16_plus_clip_240.laion400m_e31',
    // open_clip's list has the same repository for both epochs.
    laion400m_e32: 'timm/vit_base_patch16_plus_clip_240.laion400m_e31',
  },
  'ViT-L-14': {
    openai: 'openai/clip-vit-large-patch14',
    laion400m_e31: 'timm/vit_large_patch14_clip_224.laion400m_e31',
    laion400m_e32: 'timm/vit_large_patch14_clip_224.laion400m_e32',
    laion2b_s32b_b82k: 'laion/CLIP-ViT-L-14-laion2B-s32B-b82K',
    datacomp_xl_s13b_b90k: 'laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K',
    commonpool_xl_clip_s13b_b90k: 'laion/CLIP-ViT-L-14-CommonPool.XL.clip-s13B-b90K',
    commonpool_xl_laion_s13b_b90k: 'laion/CLIP-ViT-L-14-CommonPool.XL.laion-s13B-b90K',
    commonpool_xl_s13b_b90k: 'laion/CLIP-ViT-L-14-CommonPool.XL-s13B-b90K',
    metaclip_400m: 'timm/vit_large_patch14_clip_224.metaclip_400m',
    metaclip_fullcc: 'timm/vit_large_patch14_clip_224.metaclip_2pt5b',
    dfn2b: 'apple/DFN2B-CLIP-ViT-L-14',
    dfn2b_s39b: 'apple/DFN2B-CLIP-ViT-L-14-39B',
  },
  'ViT-L-14-336': {
    openai: 'openai/clip-vit-large-patch14-336',
  },
  'ViT-H-14': {
    laion2b_s32b_b79k: 'laion/CLIP-ViT-H-14-laion2B-s32B-b79K',
    metaclip_fullcc: 'timm/vit_huge_patch14_clip_224.metaclip_2pt5b',
    metaclip_altogether: 'timm/vit_huge_patch14_clip_224.metaclip_altogether',
    dfn5b: 'apple/DFN5B-CLIP-ViT-H-14',
  },
  'ViT-H-14-378': {
    dfn5b: 'apple/DFN5B-CLIP-ViT-H-14-378',
  },
  'ViT-g-14': {
    laion2b_s12b_b42k: 'laion/CLIP-ViT-g-14-laion2B-s12B-b42K',
    laion2b_s34b_b88k: 'laion/CLIP-ViT-g-14-laion2B-s34B-b88K',
  },
  'ViT-bigG-14': {
    laion2b_s39b_b160k: 'laion/CLIP-ViT-bigG-14-laion2B-39B-b160k',
    metaclip_fullcc: 'timm/vit_gigantic_patch14_clip_224.metaclip_2pt5b',
  },
};

/** Names of OpenAI's own package (`clip.available_models()`). */
const namesOfOpenai: Readonly<Record<string, string>> = {
  'ViT-B/32': 'ViT-B-32:openai',
  'ViT-B/16': 'ViT-B-16:openai',
  'ViT-L/14': 'ViT-L-14:openai',
  'ViT-L/14@336px': 'ViT-L-14-336:openai',
};

/** An architecture of open_clip with quick GELU. The configuration in the repository says the same. */
const QUICK_GELU = '-quickgelu';
/** Stands before repositories of the Hub in open_clip. */
const HUB_SCHEMA = 'hf-hub:';

/**
 * The Hub's repository of a pretrained checkpoint of open_clip or OpenAI, named `ViT-B-32:openai` as open_clip lists it,
 * `ViT-B-32/openai`, `ViT-B/32` as OpenAI does, or `hf-hub:OWNER/NAME`. Tags may be written in any case and with hyphens,
 * as there.
 * @returns `undefined` for a text that names no architecture of open_clip.
 * @throws CheckpointError `CHECKPOINT_NOT_FOUND` for an architecture without tag or with an unknown one;
 *   `CHECKPOINT_ARCHITECTURE_UNSUPPORTED` for one that is not served, with the nearest that is.
 */
export function hubModelOf(name: string): string | undefined {
  if (name.startsWith(HUB_SCHEMA)) return name.slice(HUB_SCHEMA.length);
  const { architecture, tag } = divide(namesOfOpenai[name] ?? name);
  const refusal = refusalOf(architecture);
  if (refusal !== undefined) {
    throw new CheckpointError(
      'CHECKPOINT_ARCHITECTURE_UNSUPPORTED',
      `${name}: expected a CLIP of two transformers, got ${refusal.what}. The nearest that is served is ${refusal.nearest}.`,
    );
  }
  const tags = tagsOf(architecture);
  if (tags === undefined) return undefined;
  const repository = tag === undefined ? undefined : tags.get(tag.toLowerCase().replaceAll('-', '_'));
  if (repository !== undefined) return repository;
  throw new CheckpointError(
    'CHECKPOINT_NOT_FOUND',
    `${name}: expected ${architecture}: and one of the tags ${[...tags.keys()].join(', ')}, got ${tag ?? 'no tag'}.`,
  );
}

/** open_clip takes a slash in an architecture for a hyphen. */
function divide(name: string): { readonly architecture: string; readonly tag: string | undefined } {
  const colon = name.indexOf(':');
  if (colon !== -1) return { architecture: name.slice(0, colon).replaceAll('/', '-'), tag: name.slice(colon + 1) };
  const slash = name.lastIndexOf('/');
  if (slash === -1) return { architecture: name, tag: undefined };
  return { architecture: name.slice(0, slash).replaceAll('/', '-'), tag: name.slice(slash + 1) };
}

function tagsOf(architecture: string): ReadonlyMap<string, string> | undefined {
  const bare = architecture.endsWith(QUICK_GELU) ? architecture.slice(0, -QUICK_GELU.length) : architecture;
  const tags = Object.hasOwn(repositories, bare) ? repositories[bare] : undefined;
  return tags === undefined ? undefined : new Map(Object.entries(tags));
}
