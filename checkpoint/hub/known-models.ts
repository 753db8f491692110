import type { Task } from '../config/architectures.ts';

/** A published checkpoint. */
export interface KnownModel {
  /** `OWNER/NAME` on the Hub, with the revision that has safetensors where `main` has none. */
  readonly reference: string;
  readonly task: Task;
  /** Tied parameters count once. */
  readonly parameterCount: number;
  /** As the model's card has it. Weights of others inside may have terms of their own. */
  readonly licence: 'BSD-3-Clause' | 'MIT' | 'other' | 'none named';
  /** Bytes of a copy that `quantize` makes, by the bits of a weight in the language model: of large models. */
  readonly quantizedBytes?: { readonly 8: number; readonly 4?: number };
}

/** Published checkpoints of the architectures that this package serves. It serves their fine-tunes as well. */
export const knownModels: readonly KnownModel[] = [
  {
    reference: 'Salesforce/blip-image-captioning-base',
    task: 'captioning',
    parameterCount: 223_971_644,
    licence: 'BSD-3-Clause',
  },
  {
    reference: 'Salesforce/blip-image-captioning-large@refs/pr/18',
    task: 'captioning',
    parameterCount: 446_290_492,
    licence: 'BSD-3-Clause',
  },
  {
    reference: 'Salesforce/blip-vqa-base',
    task: 'question-answering',
    parameterCount: 361_230_140,
    licence: 'BSD-3-Clause',
  },
  {
    reference: 'Salesforce/blip-vqa-capfilt-large',
    task: 'question-answering',
    parameterCount: 361_230_140,
    licence: 'BSD-3-Clause',
  },
  {
    reference: 'Salesforce/blip-itm-base-coco',
    task: 'retrieval',
    parameterCount: 223_744_258,
    licence: 'BSD-3-Clause',
  },
  {
    reference: 'Salesforce/blip-itm-base-flickr',
    task: 'retrieval',
    parameterCount: 223_744_258,
    licence: 'BSD-3-Clause',
  },
  {
    reference: 'Salesforce/blip-itm-large-coco',
    task: 'retrieval',
    parameterCount: 446_128_642,
    licence: 'BSD-3-Clause',
  },
  {
    reference: 'Salesforce/blip-itm-large-flickr',
    task: 'retrieval',
    parameterCount: 446_128_642,
    licence: 'BSD-3-Clause',
  },
  { reference: 'openai/clip-vit-base-patch32', task: 'clip', parameterCount: 151_277_313, licence: 'none named' },
  { reference: 'openai/clip-vit-base-patch16', task: 'clip', parameterCount: 149_620_737, licence: 'none named' },
  { reference: 'openai/clip-vit-large-patch14', task: 'clip', parameterCount: 427_616_513, licence: 'none named' },
  { reference: 'openai/clip-vit-large-patch14-336', task: 'clip', parameterCount: 427_944_193, licence: 'none named' },
  { reference: 'laion/CLIP-ViT-B-32-laion2B-s34B-b79K', task: 'clip', parameterCount: 151_277_313, licence: 'MIT' },
  { reference: 'laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K', task: 'clip', parameterCount: 151_277_313, licence: 'MIT' },
  { reference: 'laion/CLIP-ViT-B-16-laion2B-s34B-b88K', task: 'clip', parameterCount: 149_620_737, licence: 'MIT' },
  { reference: 'laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K', task: 'clip', parameterCount: 149_620_737, licence: 'MIT' },
  { reference: 'laion/CLIP-ViT-L-14-laion2B-s32B-b82K', task: 'clip', parameterCount: 427_616_513, licence: 'MIT' },
  { reference: 'laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K', task: 'clip', parameterCount: 427_616_513, licence: 'MIT' },
  { reference: 'laion/CLIP-ViT-H-14-laion2B-s32B-b79K', task: 'clip', parameterCount: 986_109_441, licence: 'MIT' },
  { reference: 'apple/DFN5B-CLIP-ViT-H-14', task: 'clip', parameterCount: 986_109_441, licence: 'other' },
  { reference: 'laion/CLIP-ViT-g-14-laion2B-s34B-b88K', task: 'clip', parameterCount: 1_366_678_273, licence: 'MIT' },
  {
    reference: 'laion/CLIP-ViT-bigG-14-laion2B-39B-b160k',
    task: 'clip',
    parameterCount: 2_539_567_105,
    licence: 'MIT',
  },
  {
    reference: 'Salesforce/blip2-opt-2.7b',
    task: 'image-text-to-text',
    parameterCount: 3_744_761_856,
    licence: 'MIT',
    quantizedBytes: { 8: 4.2e9, 4: 3.1e9 },
  },
  {
    reference: 'Salesforce/blip2-opt-2.7b-coco',
    task: 'image-text-to-text',
    parameterCount: 3_744_761_856,
    licence: 'MIT',
    quantizedBytes: { 8: 4.2e9, 4: 3.1e9 },
  },
  {
    reference: 'Salesforce/blip2-opt-6.7b',
    task: 'image-text-to-text',
    parameterCount: 7_752_869_376,
    licence: 'MIT',
    quantizedBytes: { 8: 8.6e9, 4: 5.9e9 },
  },
  {
    reference: 'Salesforce/blip2-opt-6.7b-coco',
    task: 'image-text-to-text',
    parameterCount: 7_752_869_376,
    licence: 'MIT',
    quantizedBytes: { 8: 8.6e9, 4: 5.9e9 },
  },
  {
    reference: 'Salesforce/blip2-flan-t5-xl',
    task: 'image-text-to-text',
    parameterCount: 3_942_446_592,
    licence: 'MIT',
    quantizedBytes: { 8: 4.2e9, 4: 3.0e9 },
  },
  {
    reference: 'Salesforce/blip2-flan-t5-xl-coco',
    task: 'image-text-to-text',
    parameterCount: 3_942_446_592,
    licence: 'MIT',
    quantizedBytes: { 8: 4.2e9, 4: 3.0e9 },
  },
  {
    reference: 'Salesforce/blip2-flan-t5-xxl',
    task: 'image-text-to-text',
    parameterCount: 12_229_596_672,
    licence: 'MIT',
    quantizedBytes: { 8: 13.1e9, 4: 8.5e9 },
  },
  {
    reference: 'Salesforce/instructblip-flan-t5-xl',
    task: 'image-text-to-text',
    parameterCount: 4_022_969_088,
    licence: 'MIT',
    quantizedBytes: { 8: 4.3e9, 4: 3.2e9 },
  },
  {
    reference: 'Salesforce/instructblip-flan-t5-xxl',
    task: 'image-text-to-text',
    parameterCount: 12_310_119_168,
    licence: 'MIT',
    quantizedBytes: { 8: 13.2e9, 4: 8.6e9 },
  },
  {
    reference: 'Salesforce/instructblip-vicuna-7b',
    task: 'image-text-to-text',
    parameterCount: 7_913_726_720,
    licence: 'other',
    quantizedBytes: { 8: 8.5e9, 4: 5.8e9 },
  },
  {
    reference: 'Salesforce/instructblip-vicuna-13b',
    task: 'image-text-to-text',
    parameterCount: 14_192_093_952,
    licence: 'other',
    quantizedBytes: { 8: 15.3e9, 4: 9.9e9 },
  },
  {
    reference: 'Salesforce/blip2-itm-vit-g',
    task: 'retrieval',
    parameterCount: 1_172_032_258,
    licence: 'MIT',
    quantizedBytes: { 8: 1.2e9 },
  },
  {
    reference: 'Salesforce/blip2-itm-vit-g-coco',
    task: 'retrieval',
    parameterCount: 1_172_032_258,
    licence: 'MIT',
    quantizedBytes: { 8: 1.2e9 },
  },
];
