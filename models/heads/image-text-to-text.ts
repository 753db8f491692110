import type { Blip2Config } from '../../checkpoint/config/blip2-config.ts';
import type { OptConfig } from '../../checkpoint/config/opt-config.ts';
import type { T5Config } from '../../checkpoint/config/t5-config.ts';
import type { TokenRules } from '../../checkpoint/config/token-rules.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import type { Real } from '../../onnx/element-type.ts';
import { addInput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import { type GreedyModel, generate } from '../generation/generate.ts';
import { addGeneratedOutputs } from '../generation/generated-sequences.ts';
import type { LanguageModel, Prompt } from '../generation/language-model.ts';
import { addGenerationParameters, type GenerationParameters } from '../generation/parameters.ts';
import { llamaLanguageModel } from '../language-models/llama.ts';
import { optLanguageModel, prepareOptPadding } from '../language-models/opt.ts';
import { embedT5, t5CrossStates, t5Encoder, t5LanguageModel } from '../language-models/t5.ts';
import { linear } from '../layers.ts';
import { child, type GraphOptions, type Module, rootModule } from '../module.ts';
import { orderedRows, rowsByImage } from '../rows-by-image.ts';
import { qFormer, qFormerCrossStates, queryEmbeddings, wordEmbeddings } from '../towers/q-former.ts';
import {
  addImageInputs,
  type EncodingShape,
  encodeVision,
  type ImageInputs,
  type ImageSettings,
  imageEncodings,
  visionStates,
} from '../towers/vision-states.ts';

/** The settings of a checkpoint of BLIP-2 or InstructBLIP. */
export interface ImageTextSettings extends ImageSettings {
  readonly config: Blip2Config;
  readonly tokenRules: TokenRules;
}

/**
 * transformers' `Blip2ForConditionalGeneration.generate` (models/blip_2/modeling_blip_2.py) as one graph, from resized
 * images to token ids. Each image is encoded once, whatever the number of prompts, and each prompt is read once, whatever
 * the number of beams.
 *
 * Inputs: those of images and `image_index` as for captioning, where `known_vision_states` [known images, queries, hidden]
 * are the vectors that the language model reads, or in InstructBLIP the vision states; `input_ids` int64 [rows, length]:
 * the image's token for each vector of the image, and then the prompt, padded on the left with the image's token;
 * `padding_length` int64 [rows]; and the generation parameters. T5 has its start token alone as `input_ids`, and the
 * prompt as `question_ids` int64 [rows, length], padded on the right, with `question_length` int64 [rows]. InstructBLIP
 * also has the prompt in the Q-Former's tokens, as `instruction_ids` and `instruction_length`.
 *
 * Outputs: as for captioning; `token_ids` begin with `input_ids`.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function imageTextToTextGraph(settings: ImageTextSettings, weights: Weights, options: GraphOptions = {}): Graph {
  const graph = createGraph('image-text-to-text');
  const model = rootModule(graph, weights, options);
  const images = addImageInputs(graph, settings, model.form, encodingShape(settings));
  const imageIndex = addInput(graph, 'image_index', 'int64', ['rows']);
  const inputIds = addInput(graph, 'input_ids', 'int64', ['rows', 'prompt_length']);
  const paddingLength = addInput(graph, 'padding_length', 'int64', ['rows']);
  const parameters = addGenerationParameters(graph);

  const vectors = imageVectors(model, settings, images, imageIndex);
  const ids = { inputIds, paddingLength };
  const sequences = withLanguageModel(
    model,
    settings,
    { ids, vectors, parameters },
    ({ prompt, languageModel, greedy }) =>
      generate(model, prompt, parameters, languageModel, settings.tokenRules, greedy),
  );
  addGeneratedOutputs(graph, sequences);
  return graph;
}

/** The vectors that a language model reads in place of images. */
export interface ImageVectors {
  /** [places * queries, hidden] */
  readonly vectors: Value<Real>;
  /** [rows]: the place of each row's image. */
  readonly places: Value<'int64'>;
}

/**
 * The encoding that is kept of an image from one run to a later one: its vectors, which no prompt changes; or in
 * InstructBLIP, where it does, the vision states.
 */
function encodingShape({ config }: ImageTextSettings): EncodingShape {
  const { queryCount, language, vision, readsInstruction } = config;
  return readsInstruction ? [imageTokenCount(vision), vision.hiddenSize] : [queryCount, language.hiddenSize];
}

export function imageVectors(
  model: Module,
  settings: ImageTextSettings,
  images: ImageInputs,
  imageIndex: Value<'int64'>,
): ImageVectors {
  const read = settings.config.readsInstruction ? readInstructed : readAlone;
  return read(model, settings, images, imageIndex);
}

/** InstructBLIP: each image goes through the vision model once, and through the Q-Former with each row's prompt. */
function readInstructed(
  model: Module,
  settings: ImageTextSettings,
  images: ImageInputs,
  imageIndex: Value<'int64'>,
): ImageVectors {
  const { op } = model;
  const { qFormer: sizes, vision, queryCount } = settings.config;
  const { rows, imageCount } = visionStates(model, settings, images);
  const instructionIds = addInput(op.graph, 'instruction_ids', 'int64', ['rows', 'instruction_length']);
  const textLength = addInput(op.graph, 'instruction_length', 'int64', ['rows']);
  const module = child(model, 'qformer');
  const embeddings = child(module, 'embeddings');
  const queries = queryEmbeddings(model, sizes, queryCount, op.dimension(imageIndex, 0));
  const read = qFormer(module, sizes, {
    embeddings: op.concat([queries, wordEmbeddings(embeddings, sizes, instructionIds)], 1),
    norm: child(embeddings, 'layernorm'),
    queryCount,
    textLength,
    image: {
      cross: qFormerCrossStates(module, sizes, rows, imageTokenCount(vision)),
      rowsByImage: rowsByImage(model, imageIndex, imageCount, sizes.hiddenSize),
    },
  });
  return { vectors: projected(model, settings, read), places: op.indices(imageIndex, 0) };
}

/** BLIP-2: each image goes through the vision model and the Q-Former once, whatever the prompts. */
function readAlone(
  model: Module,
  settings: ImageTextSettings,
  images: ImageInputs,
  imageIndex: Value<'int64'>,
): ImageVectors {
  const { rows } = imageEncodings(model, settings, images, encodingShape(settings), (module, some) =>
    projected(module, settings, readImage(module, settings, encodeVision(module, settings, some), some)),
  );
  return { vectors: rows, places: imageIndex };
}

/** Query vectors [images * queries, hidden] that have looked at the images' vision states. */
function readImage(
  model: Module,
  { config: { qFormer: sizes, vision, queryCount } }: ImageTextSettings,
  states: Value<Real>,
  images: Value<'uint8'>,
): Value<Real> {
  const module = child(model, 'qformer');
  const imageCount = model.op.dimension(images, 0);
  return qFormer(module, sizes, {
    embeddings: queryEmbeddings(model, sizes, queryCount, imageCount),
    norm: child(module, 'layernorm'),
    queryCount,
    image: {
      cross: qFormerCrossStates(module, sizes, states, imageTokenCount(vision)),
      rowsByImage: orderedRows(model, imageCount, sizes.hiddenSize),
    },
  });
}

/** `language_projection` gives query vectors [any, hidden] the width of the language model. */
function projected(
  model: Module,
  { config: { qFormer: sizes, language } }: ImageTextSettings,
  queries: Value<Real>,
): Value<Real> {
  return linear(child(model, 'language_projection'), queries, sizes.hiddenSize, language.hiddenSize);
}

/** Everything that a text begins with. */
interface Beginning {
  readonly ids: { readonly inputIds: Value<'int64'>; readonly paddingLength: Value<'int64'> };
  readonly vectors: ImageVectors;
  readonly parameters: GenerationParameters;
}

/** A language model, and what it reads first. */
export interface Continuation<Cache extends object> {
  readonly prompt: Prompt;
  readonly languageModel: LanguageModel<Cache>;
  /** In the lean form, where the language model has one for greedy search. */
  readonly greedy?: GreedyModel<Cache> | undefined;
}

/** Written for each language model's own cache. */
type Continue<Result> = <Cache extends object>(continuation: Continuation<Cache>) => Result;

/** Makes something of the checkpoint's language model behind the images: its kind is asked for here alone. */
export function withLanguageModel<Result>(
  model: Module,
  settings: ImageTextSettings,
  beginning: Beginning,
  write: Continue<Result>,
): Result {
  const { language } = settings.config;
  const module = child(model, 'language_model');
  if (language.kind === 'opt') return write(behindOpt(model, module, language, settings, beginning));
  if (language.kind === 't5') return write(behindT5(model, module, language, settings, beginning));
  const languageModel = llamaLanguageModel(module, language);
  return write({ prompt: decoderPrompt(model, settings, languageModel, beginning), languageModel });
}

/** Of a decoder alone, which reads images and words. */
function decoderPrompt(
  model: Module,
  { config }: ImageTextSettings,
  languageModel: Pick<LanguageModel<object>, 'embed'>,
  { ids, vectors }: Beginning,
) {
  return { ...ids, embeddings: withImages(model, config, languageModel, ids, vectors) };
}

function behindOpt(
  model: Module,
  module: Module,
  language: OptConfig,
  settings: ImageTextSettings,
  beginning: Beginning,
) {
  const languageModel = optLanguageModel(module, language);
  const prompt = decoderPrompt(model, settings, languageModel, beginning);
  const greedy = () => ({
    fits: model.op.constant('bool', true),
    model: optLanguageModel(module, language, prepareOptPadding(module, language, prompt, beginning.parameters)),
  });
  return { prompt, languageModel, greedy: model.form === 'lean' ? greedy() : undefined };
}

/** The encoder reads the image and the prompt, padded on the right; the decoder begins with one token. */
function behindT5(
  model: Module,
  module: Module,
  language: T5Config,
  settings: ImageTextSettings,
  { ids, vectors: { vectors, places } }: Beginning,
) {
  const { op } = model;
  const { queryCount } = settings.config;
  const promptIds = addInput(op.graph, 'question_ids', 'int64', ['rows', 'question_length']);
  const promptLength = addInput(op.graph, 'question_length', 'int64', ['rows']);
  const images = op.gather(op.reshape(vectors, [-1, queryCount, language.hiddenSize]), places, 0);
  const embeddings = op.concat([images, embedT5(module, language, promptIds)], 1);
  const encoded = t5Encoder(module, language, embeddings, op.add(promptLength, queryCount));
  const cross = t5CrossStates(module, language, encoded);
  const greedy = () => ({
    fits: op.constant('bool', true),
    model: t5LanguageModel(module, language, cross, 'one'),
  });
  return {
    prompt: ids,
    languageModel: t5LanguageModel(module, language, cross),
    greedy: model.form === 'lean' ? greedy() : undefined,
  };
}

/**
 * The embeddings of `[padding][image][text]`. Positions tell which is which, so that the image's token is never looked up.
 */
export function withImages(
  { op }: Module,
  { queryCount, language: { hiddenSize } }: Blip2Config,
  { embed }: Pick<LanguageModel<object>, 'embed'>,
  { inputIds, paddingLength }: Extract<Prompt, { readonly inputIds: Value<'int64'> }>,
  { vectors, places }: ImageVectors,
): Value<Real> {
  const slots = op.sub(op.unsqueeze(op.indices(inputIds, 1), [0]), op.unsqueeze(paddingLength, [1])); // [rows, length]
  const isText = op.greaterOrEqual(slots, queryCount);
  const words = embed({ op }, op.where(isText, inputIds, 0));
  // One lookup in all vectors and words: CUDA has no Where in every precision.
  const all = op.concat([vectors, op.reshape(words, [-1, hiddenSize])], 0);
  const inImage = op.max(op.min(slots, queryCount - 1), 0); // Padding reads the first vector; nothing reads padding.
  const ofImage = op.add(op.unsqueeze(op.mul(places, queryCount), [1]), inImage);
  const wordIndex = op.reshape(op.indices(op.reshape(inputIds, [-1]), 0), [op.dimension(inputIds, 0), -1]);
  return op.gather(all, op.where(isText, op.add(wordIndex, op.dimension(vectors, 0)), ofImage), 0);
}
