import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { addInput, createGraph, type Graph } from '../../onnx/graph.ts';
import { generate } from '../generation/generate.ts';
import { addGeneratedOutputs } from '../generation/generated-sequences.ts';
import { addGenerationParameters } from '../generation/parameters.ts';
import { crossAttentionStates, positionEmbeddings } from '../language-models/bert.ts';
import { bertLanguageModel } from '../language-models/bert-language-model.ts';
import { preparePadding } from '../language-models/prepared-padding.ts';
import { child, type GraphOptions, rootModule } from '../module.ts';
import { areOrdered, orderedRows, rowsByImage } from '../rows-by-image.ts';
import { addImageInputs, visionStates } from '../towers/vision-states.ts';

/**
 * transformers' `BlipForConditionalGeneration.generate` (models/blip/modeling_blip.py) as one graph, from resized
 * images to token ids.
 *
 * Inputs: `images` uint8 [new images, size, size, 3], which are encoded; `known_vision_states` float32 [known images,
 * tokens, width], of other images, as an earlier run returned them; `image_order` int64 [images], the place of each image
 * among the new ones and, after them, the known ones; `image_index` int64 [rows], the image of each row; `input_ids` int64
 * [rows, length], each [DEC] and the prompt without [SEP], padded on the left with [DEC]; `padding_length` int64 [rows];
 * and the generation parameters. The lean form has no known images.
 *
 * Outputs: `token_ids` int64 and `token_logprobs` float32 [rows, sequences, length]; `sequence_end` int64 and
 * `sequence_score` float32 [rows, sequences]; `new_vision_states` float32 [new images, tokens, width], in the plain form.
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function captioningGraph(checkpoint: BlipCheckpoint, weights: Weights, options: GraphOptions = {}): Graph {
  const { vision, text } = checkpoint.config;
  const graph = createGraph('captioning');
  const model = rootModule(graph, weights, options);
  const images = addImageInputs(graph, checkpoint, model.form);
  const imageIndex = addInput(graph, 'image_index', 'int64', ['rows']);
  const inputIds = addInput(graph, 'input_ids', 'int64', ['rows', 'prompt_length']);
  const paddingLength = addInput(graph, 'padding_length', 'int64', ['rows']);
  const parameters = addGenerationParameters(graph);

  const decoder = child(model, 'text_decoder');
  const states = visionStates(model, checkpoint, images);
  const cross = crossAttentionStates(child(decoder, 'bert'), text, states.rows, {
    width: text.encoderHiddenSize,
    length: imageTokenCount(vision),
  });
  const rows = rowsByImage(model, imageIndex, states.imageCount, text.hiddenSize);
  const prompt = { inputIds, paddingLength };
  const sequences = generate(
    model,
    prompt,
    parameters,
    bertLanguageModel(decoder, text, { cross, rowsByImage: rows }),
    checkpoint.tokenRules,
    model.form === 'plain'
      ? undefined
      : {
          fits: areOrdered(model, rows),
          model: bertLanguageModel(decoder, text, {
            cross,
            rowsByImage: orderedRows(model, states.imageCount, text.hiddenSize),
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
