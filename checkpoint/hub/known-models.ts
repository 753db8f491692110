import type { Task } from '../config/architectures.ts';

/** A published checkpoint. */
export interface KnownModel {
  /** `OWNER/NAME` on the Hub, with the revision that has safetensors where `main` has none. */
  readonly reference: string;
  readonly task: Task;
  /** Tied parameters count once. */
  readonly parameterCount: number;
}

/** Published checkpoints of the architectures that this package serves. It serves their fine-tunes as well. */
export const knownModels: readonly KnownModel[] = [
  { reference: 'Salesforce/blip-image-captioning-base', task: 'captioning', parameterCount: 223_971_644 },
  { reference: 'Salesforce/blip-image-captioning-large@refs/pr/18', task: 'captioning', parameterCount: 446_290_492 },
  { reference: 'Salesforce/blip-vqa-base', task: 'question-answering', parameterCount: 361_230_140 },
  { reference: 'Salesforce/blip-vqa-capfilt-large', task: 'question-answering', parameterCount: 361_230_140 },
  { reference: 'Salesforce/blip-itm-base-coco', task: 'retrieval', parameterCount: 223_744_258 },
  { reference: 'Salesforce/blip-itm-base-flickr', task: 'retrieval', parameterCount: 223_744_258 },
  { reference: 'Salesforce/blip-itm-large-coco', task: 'retrieval', parameterCount: 446_128_642 },
  { reference: 'Salesforce/blip-itm-large-flickr', task: 'retrieval', parameterCount: 446_128_642 },
  { reference: 'openai/clip-vit-base-patch32', task: 'clip', parameterCount: 151_277_313 },
  { reference: 'openai/clip-vit-base-patch16', task: 'clip', parameterCount: 149_620_737 },
  { reference: 'openai/clip-vit-large-patch14', task: 'clip', parameterCount: 427_616_513 },
  { reference: 'openai/clip-vit-large-patch14-336', task: 'clip', parameterCount: 427_944_193 },
];
