import { CheckpointError } from '../errors.ts';
import { describe, isJsonObject, type JsonSection } from '../files/json-file.ts';

/** The sections of an open_clip_config.json that describe the model. */
export interface OpenClipSections {
  readonly model: JsonSection;
  readonly vision: JsonSection;
  readonly text: JsonSection;
}

type SectionName = keyof OpenClipSections;

/** A part that CLIP's two transformers do not have. */
interface OtherPart {
  readonly key: string;
  readonly what: string;
  /** Whether the value of the key asks for it; any but null, false and 0 does unless this is given. */
  readonly isAsked?: (value: unknown) => boolean;
}

const isNoneOf =
  (...values: readonly unknown[]) =>
  (value: unknown) =>
    value !== undefined && value !== null && !values.includes(value);

/** Options of open_clip's own attention blocks. */
const blockParts: readonly OtherPart[] = [
  { key: 'ls_init_value', what: 'layer scale' },
  { key: 'block_type', what: 'custom attention blocks', isAsked: isNoneOf('default') },
  { key: 'qk_norm', what: 'norms of queries and keys' },
  { key: 'scaled_cosine_attn', what: 'scaled cosine attention' },
  { key: 'scale_heads', what: 'scaled heads' },
  { key: 'scale_attn_inner', what: 'norms inside of attention' },
  { key: 'scale_attn', what: 'norms behind attention' },
  { key: 'scale_fc', what: 'norms inside of MLPs' },
  { key: 'norm_kwargs', what: 'options of norms other than eps', isAsked: hasOthersThan('eps') },
  { key: 'act_kwargs', what: 'options of activations other than approximate', isAsked: hasOthersThan('approximate') },
];

/** The parts of each section that are refused, what a model is above all first. */
const otherParts: Readonly<Record<SectionName, readonly OtherPart[]>> = {
  model: [
    { key: 'multimodal_cfg', what: 'the text decoder of CoCa' },
    { key: 'init_logit_bias', what: 'a logit bias, as SigLIP has for its sigmoid', isAsked: isNoneOf() },
  ],
  vision: [
    { key: 'timm_model_name', what: 'an image tower of timm' },
    { key: 'layers', what: 'a ResNet as image tower', isAsked: Array.isArray },
    { key: 'attentional_pool', what: 'attentional pooling' },
    { key: 'no_ln_pre', what: 'no norm before the layers' },
    { key: 'pos_embed_type', what: 'positions that are not learned', isAsked: isNoneOf('learnable') },
    { key: 'pool_type', what: 'pooling other than of the class token', isAsked: isNoneOf('tok') },
    { key: 'output_tokens', what: 'outputs of tokens' },
    // Keys of open_clip 2.
    { key: 'global_average_pool', what: 'pooling other than of the class token' },
    { key: 'input_patchnorm', what: 'norms of patches' },
    ...blockParts,
  ],
  text: [
    { key: 'hf_model_name', what: 'a text tower of transformers' },
    { key: 'hf_tokenizer_name', what: 'another tokenizer than CLIP’s', isAsked: isOtherTokenizer },
    { key: 'tokenizer_kwargs', what: 'options of the tokenizer', isAsked: hasOthersThan() },
    { key: 'no_causal_mask', what: 'a text tower without causal mask' },
    { key: 'embed_cls', what: 'a class token behind the text' },
    { key: 'pool_type', what: 'pooling other than of the end token', isAsked: isNoneOf('argmax', 'eos') },
    { key: 'proj_type', what: 'no projection of texts', isAsked: isNoneOf('linear') },
    { key: 'proj_bias', what: 'a bias in the projection of texts' },
    { key: 'output_tokens', what: 'outputs of tokens' },
    ...blockParts,
  ],
};

/** Keys that are read, or that change nothing at inference. */
const knownKeys: Readonly<Record<SectionName, readonly string[]>> = {
  model: [
    ...['embed_dim', 'vision_cfg', 'text_cfg', 'quick_gelu', 'custom_text', 'init_logit_scale'],
    ...['nonscalar_logit_scale', 'cast_dtype', 'output_dict'],
  ],
  vision: [
    ...['layers', 'width', 'head_width', 'mlp_ratio', 'patch_size', 'image_size', 'patch_dropout'],
    ...['attn_pooler_queries', 'attn_pooler_heads', 'final_ln_after_pool', 'timm_model_pretrained', 'timm_pool'],
    ...['timm_proj', 'timm_proj_bias', 'timm_drop', 'timm_drop_path'],
  ],
  text: [
    ...['context_length', 'vocab_size', 'width', 'heads', 'layers', 'mlp_ratio', 'pad_id', 'eos_id', 'tokenizer_mode'],
    ...['final_ln_after_pool', 'hf_model_pretrained', 'hf_proj_type', 'hf_pooler_type'],
  ],
};

/**
 * Refuses a model with parts that CLIP's two transformers do not have.
 * @throws CheckpointError `CHECKPOINT_ARCHITECTURE_UNSUPPORTED`, naming the key and its meaning.
 */
export function requireServedParts(sections: OpenClipSections): void {
  for (const [name, { path, values }] of entriesOf(sections)) {
    const other = otherParts[name].find(({ key, isAsked = Boolean }) => isAsked(values[key]));
    if (other === undefined) continue;
    throw new CheckpointError(
      'CHECKPOINT_ARCHITECTURE_UNSUPPORTED',
      `${path}: expected open_clip's own vision and text transformers, got ${other.what} ` +
        `(${other.key} ${describe(values[other.key])}).`,
    );
  }
}

/** Lines for the log: keys that open_clip 3.3 does not have. */
export function unknownKeys(sections: OpenClipSections): readonly string[] {
  return entriesOf(sections).flatMap(([name, { path, values }]) => {
    const known = new Set([...knownKeys[name], ...otherParts[name].map(({ key }) => key)]);
    const unknown = Object.keys(values).filter((key) => !known.has(key));
    return unknown.length === 0 ? [] : [`${path}: has no effect: ${unknown.slice(0, 5).join(', ').slice(0, 200)}.`];
  });
}

function entriesOf({ model, vision, text }: OpenClipSections): readonly (readonly [SectionName, JsonSection])[] {
  return [
    ['model', model],
    ['vision', vision],
    ['text', text],
  ];
}

function hasOthersThan(...keys: readonly string[]): (value: unknown) => boolean {
  return (value) => isJsonObject(value) && Object.keys(value).some((key) => !keys.includes(key));
}

/** OpenAI's repositories have CLIP's own. */
function isOtherTokenizer(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && !value.startsWith('openai/clip-');
}
