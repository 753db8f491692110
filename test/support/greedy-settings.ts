import type { SharedSettings } from '../../pipeline/sessions/generation-batch.ts';

/** Greedy search with nothing else turned on. */
export const greedySettings: SharedSettings = {
  num_beams: 1,
  length_penalty: 1,
  early_stopping: 0,
  num_return_sequences: 1,
  repetition_penalty: 1,
  no_repeat_ngram_size: 0,
  do_sample: false,
  temperature: 1,
  top_k: 50,
  top_p: 1,
};
