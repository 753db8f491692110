import type { Checkpoint } from '../checkpoint.ts';

/** The part of a model that reads or writes texts: BLIP's or CLIP's own, or a language model. */
export function textPartOf(config: Checkpoint['config']) {
  return 'text' in config ? config.text : config.language;
}
