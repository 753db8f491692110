const LAYER = 'vision_model.encoder.layers.$1';

/** Names in the original vision transformer (salesforce/BLIP, models/vit.py), each with transformers' name. */
const renames: readonly (readonly [original: RegExp, name: string])[] = [
  [/^visual_encoder\.cls_token$/, 'vision_model.embeddings.class_embedding'],
  [/^visual_encoder\.pos_embed$/, 'vision_model.embeddings.position_embedding'],
  [/^visual_encoder\.patch_embed\.proj\./, 'vision_model.embeddings.patch_embedding.'],
  [/^visual_encoder\.norm\./, 'vision_model.post_layernorm.'],
  [/^visual_encoder\.blocks\.(\d+)\.norm(1|2)\./, `${LAYER}.layer_norm$2.`],
  [/^visual_encoder\.blocks\.(\d+)\.attn\.qkv\./, `${LAYER}.self_attn.qkv.`],
  [/^visual_encoder\.blocks\.(\d+)\.attn\.proj\./, `${LAYER}.self_attn.projection.`],
  [/^visual_encoder\.blocks\.(\d+)\.mlp\./, `${LAYER}.mlp.`],
];

/**
 * The name that transformers gives to a tensor of an original BLIP checkpoint. Other names stay, because only the vision
 * transformer was renamed.
 * Source: transformers' models/blip/convert_blip_original_pytorch_to_hf.py, `rename_key`.
 */
export function transformersName(name: string): string {
  const rename = renames.find(([original]) => original.test(name));
  return rename === undefined ? name : name.replace(...rename);
}
