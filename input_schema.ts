import type { InputField, OutputField } from './protocol/schema.ts';

/** Counts beyond this mean nothing, and do not fit a tensor of 32 bits. */
const MAX_COUNT = 2_147_483_647;

/**
 * The inputs of the captioning handler, in Inferless' shape: datatype, required, shape, example. This is the one source
 * for validation, for the TypeScript types, and for the metadata that servers publish.
 */
export const inputSchema = {
  img_url: {
    datatype: 'STRING',
    required: true,
    shape: [-1],
    example: ['https://storage.googleapis.com/sfr-vision-language-research/BLIP/demo.jpg'],
    description: 'The image: an http(s) URL, a data: URI, or base64.',
  },
  text: {
    datatype: 'STRING',
    required: false,
    shape: [-1],
    example: ['a photography of'],
    description: 'A prompt that the caption continues: one for each image, or one for all. Empty means none.',
  },
  max_new_tokens: {
    datatype: 'INT64',
    required: false,
    shape: [1],
    example: [20],
    minimum: 1,
    maximum: MAX_COUNT,
    description: 'The most tokens a caption has, its end token included.',
  },
  min_new_tokens: {
    datatype: 'INT64',
    required: false,
    shape: [1],
    example: [5],
    minimum: 0,
    maximum: MAX_COUNT,
    description: 'The fewest tokens before a caption may end.',
  },
  num_beams: {
    datatype: 'INT64',
    required: false,
    shape: [1],
    example: [3],
    minimum: 1,
    maximum: 32,
    description: 'Beams that compete in beam search; 1 is greedy search.',
  },
  length_penalty: {
    datatype: 'FP32',
    required: false,
    shape: [1],
    example: [1],
    minimum: -10,
    maximum: 10,
    description: 'Power of the length that a sequence score is divided by: above 0 favours long captions.',
  },
  early_stopping: {
    datatype: 'STRING',
    required: false,
    shape: [1],
    example: ['never'],
    allowed: [true, false, 'true', 'false', 'never'],
    description:
      'When beam search ends: as soon as num_beams captions are complete (true), when a better one is unlikely (false), or impossible (never).',
  },
  num_return_sequences: {
    datatype: 'INT64',
    required: false,
    shape: [1],
    example: [1],
    minimum: 1,
    maximum: 32,
    description: 'Captions per image; more than 1 needs num_beams or do_sample.',
  },
  repetition_penalty: {
    datatype: 'FP32',
    required: false,
    shape: [1],
    example: [1.5],
    minimum: 0.001,
    maximum: 100,
    description: 'Makes tokens that stand in the caption already less likely (above 1) or more (below 1).',
  },
  no_repeat_ngram_size: {
    datatype: 'INT64',
    required: false,
    shape: [1],
    example: [3],
    minimum: 0,
    maximum: MAX_COUNT,
    description: 'No run of this many tokens may occur twice; 0 turns it off.',
  },
  do_sample: {
    datatype: 'BOOL',
    required: false,
    shape: [1],
    example: [true],
    description: 'Draws tokens at random by their probability, in place of taking the best.',
  },
  temperature: {
    datatype: 'FP32',
    required: false,
    shape: [1],
    example: [0.7],
    minimum: 0.001,
    maximum: 100,
    description: 'Sampling: scores are divided by it, so that below 1 likely tokens are drawn more often.',
  },
  top_k: {
    datatype: 'INT64',
    required: false,
    shape: [1],
    example: [50],
    minimum: 0,
    maximum: MAX_COUNT,
    description: 'Sampling: only this many of the best tokens can be drawn; 0 allows all.',
  },
  top_p: {
    datatype: 'FP32',
    required: false,
    shape: [1],
    example: [0.9],
    exclusiveMinimum: 0,
    maximum: 1,
    description: 'Sampling: only the best tokens that together have this probability can be drawn.',
  },
  seed: {
    datatype: 'INT64',
    required: false,
    shape: [1],
    example: [42],
    minimum: 0,
    maximum: 4_294_967_295,
    description: 'Sampling: the same seed draws the same captions.',
  },
} as const satisfies Record<string, InputField>;

export type InputSchema = typeof inputSchema;
export type InputName = keyof InputSchema;

interface ValueTypes {
  readonly STRING: string;
  readonly INT64: number;
  readonly FP32: number;
  readonly BOOL: boolean;
}

/** The value of one input: from `allowed` where there is such a list, else by its datatype. */
export type InputValue<Name extends InputName> = InputSchema[Name] extends {
  readonly allowed: readonly (infer Value)[];
}
  ? Value
  : ValueTypes[InputSchema[Name]['datatype']];

type InputOf<Name extends InputName> = InputSchema[Name]['shape'] extends readonly [1]
  ? InputValue<Name>
  : InputValue<Name> | readonly InputValue<Name>[];

type NamesWhere<Required extends boolean> = {
  [Name in InputName]: InputSchema[Name]['required'] extends Required ? Name : never;
}[InputName];

/** What `infer` takes: one value where one was sent, a list where several were (Inferless' unwrapping rule). */
export type Inputs = { readonly [Name in NamesWhere<true>]: InputOf<Name> } & {
  readonly [Name in NamesWhere<false>]?: InputOf<Name> | undefined;
};

/** Inputs that steer generation: everything but the image and the prompt. */
export type GenerationInputName = Exclude<InputName, 'img_url' | 'text'>;

/** The outputs. With several captions per image, the second dimension is the caption. */
export const outputSchema = {
  generated_output: { datatype: 'BYTES', shape: [-1], onRequest: false, description: 'The captions.' },
  token_ids: {
    datatype: 'INT64',
    shape: [-1, -1],
    onRequest: true,
    description: 'Token ids of each caption, start token and prompt included, padded to the longest.',
  },
  token_logprobs: {
    datatype: 'FP32',
    shape: [-1, -1],
    onRequest: true,
    description: 'Log-probability of each token; 0 for the start token, the prompt and padding.',
  },
  sequence_score: {
    datatype: 'FP32',
    shape: [-1],
    onRequest: true,
    description: 'Summed log-probabilities of the generated tokens / their number ** length_penalty.',
  },
  error: {
    datatype: 'BYTES',
    shape: [-1],
    onRequest: true,
    description: 'Why an image has no caption; empty for those that have one. Also added when some images fail.',
  },
} as const satisfies Record<string, OutputField>;

export type OutputName = keyof typeof outputSchema;
