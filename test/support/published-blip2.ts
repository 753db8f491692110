import { readBlip2Config } from '../../checkpoint/config/blip2-config.ts';

/** The settings of published BLIP-2 and InstructBLIP, as far as the cost of a token depends on them. */

const read = (text: object, readsInstruction = false) =>
  readBlip2Config({ path: 'config.json', values: { text_config: text } }, readsInstruction);

const opt = (hidden_size: number, ffn_dim: number) =>
  read({
    model_type: 'opt',
    hidden_size,
    ffn_dim,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    word_embed_proj_dim: hidden_size,
    vocab_size: 50_304,
    eos_token_id: 50_118,
  });

const t5 = (d_model: number, d_ff: number, num_heads: number) =>
  read({
    model_type: 't5',
    d_model,
    d_ff,
    num_heads,
    d_kv: 64,
    num_layers: 24,
    num_decoder_layers: 24,
    dense_act_fn: 'gelu',
    feed_forward_proj: 'gated-gelu',
    tie_word_embeddings: false,
  });

const vicuna = (hidden_size: number, intermediate_size: number, layers: number) =>
  read(
    {
      model_type: 'llama',
      hidden_size,
      intermediate_size,
      num_hidden_layers: layers,
      num_attention_heads: layers,
      vocab_size: 32_064,
      bos_token_id: 0,
      eos_token_id: 1,
      pad_token_id: 32_000,
    },
    true,
  );

export const publishedBlip2 = {
  'opt-2.7b': opt(2560, 10_240),
  'opt-6.7b': opt(4096, 16_384),
  'flan-t5-xl': t5(2048, 5120, 32),
  'flan-t5-xxl': t5(4096, 10_240, 64),
  'vicuna-7b': vicuna(4096, 11_008, 32),
  'vicuna-13b': vicuna(5120, 13_824, 40),
} as const;
