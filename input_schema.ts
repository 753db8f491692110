import { imageTextPresets, MAX_COUNT, parameterColumn } from './checkpoint/config/generation-parameters.ts';
import type { InputField, InputFields, NamesWhere, OutputField, TaskSchema, ValueOf } from './protocol/schema.ts';

/**
 * The inputs and outputs of each task, in Inferless' shape: datatype, required, shape, example. Validation, the
 * TypeScript types and the metadata that servers publish follow from them.
 */

const exampleUrl = 'https://storage.googleapis.com/sfr-vision-language-research/BLIP/demo.jpg';

const image = {
  datatype: 'STRING',
  required: true,
  shape: [-1],
  example: [exampleUrl],
  acceptsBytes: true,
  description:
    'The image: an http(s) URL, a data: URI, or base64; the bytes of its file where the platform carries them.',
} as const satisfies InputField;

/** The parameters of generation, for captions and answers. */
const generationInputs = parameterColumn('input');

const captioningInputs = {
  img_url: image,
  text: {
    datatype: 'STRING',
    required: false,
    shape: [-1],
    example: ['a photography of'],
    description: 'A prompt that the caption continues: one for each image, or one for all. Empty means none.',
  },
  ...generationInputs,
} as const satisfies Record<string, InputField>;

const questionAnsweringInputs = {
  img_url: image,
  question: {
    datatype: 'STRING',
    required: true,
    shape: [-1],
    example: ['how many dogs are in the picture?'],
    description: 'A question: one for each image, or one for all.',
  },
  candidates: {
    datatype: 'STRING',
    required: false,
    shape: [-1],
    example: ['one', 'two', 'three'],
    description:
      'The only answers there are, at most 256. The likeliest is returned, or with num_return_sequences that many, ranked; sequence_score has their log-probabilities.',
  },
  ...generationInputs,
} as const satisfies Record<string, InputField>;

const imageTextToTextInputs = {
  img_url: image,
  text: {
    datatype: 'STRING',
    required: false,
    shape: [-1],
    example: ['a photo of'],
    description: 'A prompt that the text continues: one for each image, or one for all. Empty means none.',
  },
  question: {
    datatype: 'STRING',
    required: false,
    shape: [-1],
    example: ['how many dogs are in the picture?'],
    description: 'A question in place of text: one for each image, or one for all. Its answer is the output answer.',
  },
  context: {
    datatype: 'STRING',
    required: false,
    shape: [-1],
    example: ['how many dogs are there?', 'two'],
    description:
      'Earlier questions and their answers in turn, or one text of them, which every question of the request follows.',
  },
  ...generationInputs,
  preset: {
    ...generationInputs.preset,
    example: ['vqa'],
    allowed: imageTextPresets,
    description:
      'The form of questions and the defaults: as sent (hf), "Question: … Answer:" (vqa), or those of LAVIS (original-blip). For questions vqa unless the model follows instructions, else hf.',
  },
} as const satisfies Record<string, InputField>;

const retrievalInputs = {
  img_url: image,
  text: {
    datatype: 'STRING',
    required: true,
    shape: [-1],
    example: ['a woman and her dog on the beach', 'a man in a suit'],
    description: 'Texts; every image is compared with every text.',
  },
  rerank_top_k: {
    datatype: 'INT64',
    required: false,
    shape: [1],
    example: [8],
    minimum: 0,
    maximum: MAX_COUNT,
    description:
      'For each text, compute match_probability only with this many images, those of the largest cosine similarity. All images when absent.',
  },
} as const satisfies Record<string, InputField>;

const clipInputs = {
  img_url: { ...image, required: false },
  text: {
    datatype: 'STRING',
    required: false,
    shape: [-1],
    example: ['a photo of a dog', 'a photo of a cat'],
    description:
      'Texts. At least one image or text is needed; with both, every image is compared with every text, unless queries and candidates say otherwise.',
  },
  queries: {
    datatype: 'INT64',
    required: false,
    shape: [-1],
    example: [0],
    minimum: 0,
    maximum: MAX_COUNT,
    description:
      'Which items are compared with `candidates`: their numbers, images first, then texts; at most as many as there are items. All images when absent.',
  },
  candidates: {
    datatype: 'INT64',
    required: false,
    shape: [-1],
    example: [1, 2],
    minimum: 0,
    maximum: MAX_COUNT,
    description:
      'Which items `queries` are compared with: their numbers, at most as many as there are items. All texts when absent.',
  },
  normalize: {
    datatype: 'BOOL',
    required: false,
    shape: [1],
    example: [true],
    description: 'Returns embeddings of unit length; else they are as CLIP computes them.',
  },
} as const satisfies Record<string, InputField>;

/** The outputs of generated text besides the text itself. */
const generationOutputs = {
  token_ids: {
    datatype: 'INT64',
    shape: [-1, -1],
    onRequest: true,
    description: 'Token ids of each text, start token and prompt included, padded to the longest.',
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
  sequence_logprob: {
    datatype: 'FP32',
    shape: [-1],
    onRequest: true,
    description:
      'Summed log-probabilities of the generated tokens, after the parameters of the request (penalties, sampling) were applied: how likely this text was to be generated.',
  },
  mean_token_logprob: {
    datatype: 'FP32',
    shape: [-1],
    onRequest: true,
    description:
      'sequence_logprob divided by the number of generated tokens: a confidence that does not depend on length. Compare it between requests of equal parameters.',
  },
} as const satisfies Record<string, OutputField>;

const error = {
  datatype: 'BYTES',
  shape: [-1],
  onRequest: true,
  description: 'Why an item has no result; empty for those that have one. Also added when some items fail.',
} as const satisfies OutputField;

const captioningOutputs = {
  generated_output: { datatype: 'BYTES', shape: [-1], onRequest: false, description: 'The captions.' },
  ...generationOutputs,
  error,
} as const satisfies Record<string, OutputField>;

const questionAnsweringOutputs = {
  answer: { datatype: 'BYTES', shape: [-1], onRequest: false, description: 'The answers.' },
  ...generationOutputs,
  error,
} as const satisfies Record<string, OutputField>;

const imageTextToTextOutputs = {
  generated_output: {
    datatype: 'BYTES',
    shape: [-1],
    onRequest: false,
    description: 'The texts, where the request has no question. Those of OPT and LLaMA begin with their prompts.',
  },
  answer: {
    datatype: 'BYTES',
    shape: [-1],
    onRequest: false,
    description: 'The answers, where the request has a question.',
  },
  ...generationOutputs,
  error,
} as const satisfies Record<string, OutputField>;

const retrievalOutputs = {
  match_probability: {
    datatype: 'FP32',
    shape: [-1, -1],
    onRequest: false,
    description: 'For each image and text, how likely they match (ITM); -1 where it was not computed.',
  },
  cosine_similarity: {
    datatype: 'FP32',
    shape: [-1, -1],
    onRequest: false,
    description: 'For each image and text, the cosine of their embeddings (ITC).',
  },
  image_embeds: {
    datatype: 'FP32',
    shape: [-1, -1],
    onRequest: true,
    description: 'Image embeddings of unit length.',
  },
  text_embeds: { datatype: 'FP32', shape: [-1, -1], onRequest: true, description: 'Text embeddings of unit length.' },
  error,
} as const satisfies Record<string, OutputField>;

const clipOutputs = {
  image_embeds: { datatype: 'FP32', shape: [-1, -1], onRequest: false, description: 'Image embeddings.' },
  text_embeds: { datatype: 'FP32', shape: [-1, -1], onRequest: false, description: 'Text embeddings.' },
  probability: {
    datatype: 'FP32',
    shape: [-1, -1],
    onRequest: false,
    description:
      'For each query, which candidate fits it best: probabilities that sum to 1. Where there is something to compare.',
  },
  cosine_similarity: {
    datatype: 'FP32',
    shape: [-1, -1],
    onRequest: false,
    description: 'For each query and candidate, the cosine of their embeddings. Where there is something to compare.',
  },
  error,
} as const satisfies Record<string, OutputField>;

/** An image has an embedding for each query vector of BLIP-2. */
const blip2RetrievalOutputs = {
  ...retrievalOutputs,
  cosine_similarity: {
    ...retrievalOutputs.cosine_similarity,
    description:
      'For each image and text, the largest cosine of an embedding of the image with that of the text (ITC).',
  },
  image_embeds: {
    ...retrievalOutputs.image_embeds,
    shape: [-1, -1, -1],
    description: 'Image embeddings of unit length, several for each image.',
  },
} as const satisfies Record<string, OutputField>;

/** The inputs and outputs of each task. With several texts per item, the second dimension of generated texts counts them. */
export const schemas = {
  captioning: { inputs: captioningInputs, outputs: captioningOutputs },
  'question-answering': { inputs: questionAnsweringInputs, outputs: questionAnsweringOutputs },
  'image-text-to-text': { inputs: imageTextToTextInputs, outputs: imageTextToTextOutputs },
  retrieval: { inputs: retrievalInputs, outputs: retrievalOutputs },
  clip: { inputs: clipInputs, outputs: clipOutputs },
} as const satisfies Record<string, TaskSchema>;

/** The inputs and outputs of retrieval with BLIP-2: those of the task, with a shape of its own. */
export const blip2RetrievalSchema = {
  inputs: retrievalInputs,
  outputs: blip2RetrievalOutputs,
} as const satisfies TaskSchema;

type TaskName = keyof typeof schemas;

/** One value, or a list of values where several are possible (Inferless' unwrapping rule). */
type SentValue<Field extends InputField> = Field['shape'] extends readonly [1]
  ? ValueOf<Field>
  : ValueOf<Field> | readonly ValueOf<Field>[];

type SentInputs<Fields extends InputFields> = {
  readonly [Name in NamesWhere<Fields, true>]: SentValue<Fields[Name]>;
} & {
  readonly [Name in NamesWhere<Fields, false>]?: SentValue<Fields[Name]> | undefined;
};

type InputName = { [Task in TaskName]: keyof (typeof schemas)[Task]['inputs'] }[TaskName];

/** The inputs of one task, and of no other. */
type InputsOfTask<Task extends TaskName> = SentInputs<(typeof schemas)[Task]['inputs']> & {
  readonly [Name in Exclude<InputName, keyof (typeof schemas)[Task]['inputs']>]?: never;
};

/** The inputs that `infer` takes: those of the task that the checkpoint is for. */
export type Inputs = { [Task in TaskName]: InputsOfTask<Task> }[TaskName];

type OutputName = { [Task in TaskName]: keyof (typeof schemas)[Task]['outputs'] }[TaskName];

interface OutputTypes {
  readonly BYTES: string;
  readonly INT64: number;
  readonly FP32: number;
}

type OutputType<Name extends OutputName> = {
  [Task in TaskName]: (typeof schemas)[Task]['outputs'] extends {
    readonly [Key in Name]: { readonly datatype: infer Datatype extends keyof OutputTypes };
  }
    ? OutputTypes[Datatype]
    : never;
}[TaskName];

/** The outputs that `infer` returns: the usual ones of the checkpoint's task. One value, or a list; matrices row by row. */
export type Outputs = { readonly [Name in OutputName]?: OutputType<Name> | readonly OutputType<Name>[] };
