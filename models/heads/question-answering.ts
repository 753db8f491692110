import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { addInput, createGraph, type Graph, type Value } from '../../onnx/graph.ts';
import { paddingBias } from '../attention-bias.ts';
import { generate } from '../generation/generate.ts';
import { addGeneratedOutputs } from '../generation/generated-sequences.ts';
import { addGenerationParameters } from '../generation/parameters.ts';
import { type CrossAttentionState, crossAttentionStates, positionEmbeddings } from '../language-models/bert.ts';
import { bertLanguageModel } from '../language-models/bert-language-model.ts';
import { preparePadding } from '../language-models/prepared-padding.ts';
import { child, type GraphForm, type GraphOptions, type Module, rootModule } from '../module.ts';
import { oneRowPerImage, rowsByImage } from '../rows-by-image.ts';
import { textEncoder } from '../towers/text-encoder.ts';
import { addImageInputs, type ImageInputs, visionStates } from '../towers/vision-states.ts';

/** Questions about images. */
export interface QuestionInputs {
  readonly images: ImageInputs;
  /** [rows]: the image of each question. */
  readonly imageIndex: Value<'int64'>;
  /** [rows, length]: each [CLS], the question and [SEP], padded on the right. */
  readonly questionIds: Value<'int64'>;
  /** [rows] */
  readonly questionLength: Value<'int64'>;
}

/**
 * transformers' `BlipForQuestionAnswering.generate` (models/blip/modeling_blip.py) as one graph, from resized images to
 * the token ids of answers.
 *
 * Inputs: those of images and `image_index` as for captioning; `question_ids` int64 [rows, length], each [CLS], the question
 * and [SEP], padded on the right; `question_length` int64 [rows]; and `input_ids` [rows, 1], `padding_length` [rows]
 * and the generation parameters, for the answers, which begin with [DEC].
 *
 * Outputs: as for captioning. Padding of a question is not attended to (transformers attends to it), so an answer is
 * the one that transformers gives to the question alone.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function questionAnsweringGraph(
  checkpoint: BlipCheckpoint,
  weights: Weights,
  options: GraphOptions = {},
): Graph {
  const { text } = checkpoint.config;
  const graph = createGraph('question-answering');
  const model = rootModule(graph, weights, options);
  const questions = addQuestionInputs(graph, checkpoint, model.form);
  const inputIds = addInput(graph, 'input_ids', 'int64', ['rows', 'prompt_length']);
  const paddingLength = addInput(graph, 'padding_length', 'int64', ['rows']);
  const parameters = addGenerationParameters(graph);

  const decoder = child(model, 'text_decoder');
  const cross = encodeQuestions(model, checkpoint, questions);
  const rowCount = model.op.dimension(questions.questionIds, 0);
  const context = { cross, rowsByImage: oneRowPerImage(model, rowCount, text.hiddenSize) };
  const prompt = { inputIds, paddingLength };
  const sequences = generate(
    model,
    prompt,
    parameters,
    bertLanguageModel(decoder, text, context),
    checkpoint.tokenRules,
    model.form === 'plain'
      ? undefined
      : {
          fits: model.op.constant('bool', true),
          model: bertLanguageModel(decoder, text, {
            ...context,
            padding: preparePadding(
              decoder,
              () => positionEmbeddings(child(decoder, 'bert'), text),
              prompt,
              parameters,
            ),
          }),
        },
  );
  addGeneratedOutputs(graph, sequences);
  return graph;
}

export function addQuestionInputs(graph: Graph, checkpoint: BlipCheckpoint, form: GraphForm): QuestionInputs {
  return {
    images: addImageInputs(graph, checkpoint, form),
    imageIndex: addInput(graph, 'image_index', 'int64', ['rows']),
    questionIds: addInput(graph, 'question_ids', 'int64', ['rows', 'question_length']),
    questionLength: addInput(graph, 'question_length', 'int64', ['rows']),
  };
}

/** Keys and values for the decoder's cross-attention: each row reads its own question, which has seen its image. */
export function encodeQuestions(
  model: Module,
  checkpoint: BlipCheckpoint,
  { images, imageIndex, questionIds, questionLength }: QuestionInputs,
): readonly CrossAttentionState[] {
  const { vision, text } = checkpoint.config;
  const encoder = child(model, 'text_encoder');
  const decoder = child(model, 'text_decoder');
  const states = visionStates(model, checkpoint, images);
  const imageSize = { width: text.encoderHiddenSize, length: imageTokenCount(vision) };
  const question = textEncoder(encoder, text, {
    inputIds: questionIds,
    textLength: questionLength,
    image: {
      cross: crossAttentionStates(encoder, text, states.rows, imageSize),
      rowsByImage: rowsByImage(model, imageIndex, states.imageCount, text.hiddenSize),
    },
  });
  const questionSize = { width: text.hiddenSize, length: model.op.dimension(questionIds, 1) };
  const bias = paddingBias(decoder, questionIds, questionLength);
  const cross = crossAttentionStates(child(decoder, 'bert'), text, question, questionSize);
  return cross.map((state) => ({ ...state, bias }));
}
