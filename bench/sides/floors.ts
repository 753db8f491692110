/**
 * The least time that a machine could take for an answer of BLIP-2: multiplications by its rate of products, and for each
 * further token one reading of the weights that it needs. Counts follow config.json, whose missing keys have transformers'
 * defaults.
 */

/** What bench/machine.py measures. */
export interface Rates {
  readonly gigaflops: number;
  readonly gigabytesPerSecond: number;
}

export interface Work {
  /** Operations from pixels to the first token. A multiplication with its addition is two. */
  readonly firstTokenFlops: number;
  /** Weights that each further token reads. */
  readonly weightsPerToken: number;
}

type Section = Readonly<Record<string, unknown>>;

function section(config: Section, name: string): Section {
  return Object(config[name]);
}

function numbers<Name extends string>(from: Section, defaults: Readonly<Record<Name, number>>): Record<Name, number> {
  return { ...defaults, ...Object.fromEntries(Object.keys(defaults).flatMap((name) => entryOf(from, name))) };
}

function entryOf(from: Section, name: string): readonly (readonly [string, number])[] {
  const value = from[name];
  return typeof value === 'number' ? [[name, value]] : [];
}

const visionDefaults = {
  hidden_size: 1408,
  intermediate_size: 6144,
  num_hidden_layers: 39,
  image_size: 224,
  patch_size: 14,
};

function vision(config: Section) {
  const sizes = numbers(section(config, 'vision_config'), visionDefaults);
  const { hidden_size: width, intermediate_size: inner, num_hidden_layers: layers } = sizes;
  const tokens = (sizes.image_size / sizes.patch_size) ** 2 + 1;
  const linear = 2 * tokens * (4 * width ** 2 + 2 * width * inner);
  return { tokens, width, flops: layers * (linear + 4 * tokens ** 2 * width) };
}

const qFormerDefaults = {
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  cross_attention_frequency: 2,
};

function qFormerFlops(config: Section, image: { readonly tokens: number; readonly width: number }, queries: number) {
  const sizes = numbers(section(config, 'qformer_config'), qFormerDefaults);
  const { hidden_size: width, intermediate_size: inner, num_hidden_layers: layers } = sizes;
  const own = 2 * queries * (4 * width ** 2 + 2 * width * inner);
  const cross = 2 * image.tokens * 2 * image.width * width + 2 * queries * 2 * width ** 2;
  return layers * own + Math.ceil(layers / sizes.cross_attention_frequency) * cross;
}

interface LanguageWeights {
  /** Each token of the prompt is multiplied by these. */
  readonly prompt: number;
  readonly token: number;
}

const optDefaults = { hidden_size: 768, ffn_dim: 3072, num_hidden_layers: 12, vocab_size: 50272 };

function optWeights(text: Section): LanguageWeights {
  const {
    hidden_size: width,
    ffn_dim: inner,
    num_hidden_layers: layers,
    vocab_size: words,
  } = numbers(text, optDefaults);
  const prompt = layers * (4 * width ** 2 + 2 * width * inner);
  return { prompt, token: prompt + words * width };
}

const t5Defaults = { d_model: 512, d_kv: 64, d_ff: 2048, num_layers: 6, num_heads: 8, vocab_size: 32128 };

function t5Weights(text: Section): LanguageWeights {
  const { d_model: width, d_kv: head, d_ff: inner, num_layers: layers, num_heads: heads } = numbers(text, t5Defaults);
  const { num_decoder_layers: decoderLayers } = numbers(text, { num_decoder_layers: layers });
  const attention = 4 * width * head * heads;
  const feedForward = (String(text['feed_forward_proj']).startsWith('gated') ? 3 : 2) * width * inner;
  const crossKeysAndValues = decoderLayers * (attention / 2);
  const { vocab_size: words } = numbers(text, t5Defaults);
  const decoder = decoderLayers * (attention + attention / 2 + feedForward);
  return { prompt: layers * (attention + feedForward) + crossKeysAndValues, token: decoder + words * width };
}

const llamaDefaults = {
  hidden_size: 4096,
  intermediate_size: 11008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  vocab_size: 32000,
};

function llamaWeights(text: Section): LanguageWeights {
  const sizes = numbers(text, llamaDefaults);
  const { hidden_size: width, num_attention_heads: heads } = sizes;
  const { num_key_value_heads: keyHeads } = numbers(text, { num_key_value_heads: heads });
  const attention = 2 * width ** 2 + (2 * width ** 2 * keyHeads) / heads;
  const prompt = sizes.num_hidden_layers * (attention + 3 * width * sizes.intermediate_size);
  return { prompt, token: prompt + sizes.vocab_size * width };
}

const weightsOf = { opt: optWeights, t5: t5Weights, llama: llamaWeights };

/** @param promptTokens of the text, without the image's. */
export function workOf(config: Section, promptTokens: number): Work {
  const text = section(config, 'text_config');
  const kind = text['model_type'];
  if (kind !== 'opt' && kind !== 't5' && kind !== 'llama')
    throw new Error(`Expected a text_config of opt, t5 or llama, got ${String(kind)}.`);
  const { num_query_tokens: queries } = numbers(config, { num_query_tokens: 32 });
  const image = vision(config);
  const { prompt, token } = weightsOf[kind](text);
  const language = 2 * prompt * (queries + promptTokens) + 2 * token;
  return { firstTokenFlops: image.flops + qFormerFlops(config, image, queries) + language, weightsPerToken: token };
}

/** Milliseconds of an answer in float32. Rows of a batch share each reading of the weights. */
export function floorMs(
  { firstTokenFlops, weightsPerToken }: Work,
  rates: Rates,
  rows: number,
  newTokens: number,
): number {
  const products = (flops: number) => flops / (rates.gigaflops * 1e6);
  const reading = (4 * weightsPerToken) / (rates.gigabytesPerSecond * 1e6);
  return rows * products(firstTokenFlops) + (newTokens - 1) * Math.max(reading, products(2 * weightsPerToken * rows));
}
