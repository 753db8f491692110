import { type GoldenSequence, type ImageName, openGoldenTensors, readGoldenJson } from './goldens.ts';

/** The goldens of test/fixtures/make_preset_goldens.py. */

/** Sizes, other than the checkpoint's, that images were resized to. */
export const otherSizes = {
  'narrow-vision': [24, 40, 64],
  'sharded-float16': [96],
  'clip-placeholder-end': [24, 56],
  'clip-real-end': [80],
} as const;

export interface GoldenCandidate {
  readonly text: string;
  /** [DEC], the candidate and [SEP]. */
  readonly token_ids: readonly number[];
  /** Of all but [DEC]. */
  readonly token_logprobs: readonly number[];
  readonly negative_log_likelihood: number;
}

export interface GoldenRanking {
  readonly image: ImageName;
  readonly question: string;
  /** [CLS], the question and [SEP]. */
  readonly question_ids: readonly number[];
  readonly candidates: readonly GoldenCandidate[];
  /** With [ENC] in place of [CLS]. */
  readonly original: readonly GoldenCandidate[];
}

export interface GoldenPresets {
  readonly captions: readonly {
    readonly image: ImageName;
    readonly prompt: string | null;
    readonly original: readonly GoldenSequence[];
    /** With 30 new tokens at most. */
    readonly bentoblip: readonly GoldenSequence[];
  }[];
  readonly answers: readonly {
    readonly image: ImageName;
    readonly question: string;
    readonly original: readonly GoldenSequence[];
    /** With the same parameters, and a question that starts with [CLS]. */
    readonly with_cls: readonly GoldenSequence[];
  }[];
  readonly rankings: readonly GoldenRanking[];
  readonly resized_captions: readonly {
    readonly checkpoint: 'narrow-vision' | 'sharded-float16';
    readonly size: number;
    readonly image: ImageName;
    readonly sequences: readonly GoldenSequence[];
  }[];
  /** processor_config.json of two checkpoints. */
  readonly processors: Readonly<Record<'narrow-vision' | 'clip-real-end', object>>;
}

export function readGoldenPresets(): GoldenPresets {
  return readGoldenJson('presets.json');
}

/** The golden tensors of images at another size: `<checkpoint>.<size>.<image>.resized` and `….image_embeds`. */
export function openGoldenPositions(): ReturnType<typeof openGoldenTensors> {
  return openGoldenTensors('positions');
}
