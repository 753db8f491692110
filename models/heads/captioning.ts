import type { BlipCheckpoint } from '../../checkpoint/checkpoint.ts';
import { imageTokenCount } from '../../checkpoint/config/vision-config.ts';
import type { Weights } from '../../checkpoint/weights/weights.ts';
import { addInput, createGraph, type Graph } from '../../onnx/graph.ts';
import { generate } from '../generation/generate.ts';
import { addGeneratedOutputs } from '../generation/generated-sequences.ts';
import { addGenerationParameters } from '../generation/parameters.ts';
import { crossAttentionStates } from '../language-models/bert.ts';
import { bertLanguageModel } from '../language-models/bert-language-model.ts';
import { child, type GraphOptions, rootModule } from '../module.ts';
import { areOrdered, orderedRows, type RowsByImage, rowsByImage } from '../rows-by-image.ts';
import { pixelValues } from '../towers/image-processor.ts';
import { visionTransformer } from '../towers/vision-transformer.ts';

/**
 * transformers' `BlipForConditionalGeneration.generate` (models/blip/modeling_blip.py) as one graph, from resized
 * images to token ids.
 *
 * Inputs: `images` uint8 [images, size, size, 3]; `image_index` int64 [rows], the image of each row; `input_ids` int64
 * [rows, length], each [DEC] and the prompt without [SEP], padded on the left with [DEC]; `padding_length` int64
 * [rows]; and the generation parameters.
 *
 * Outputs: `token_ids` int64 and `token_logprobs` float32 [rows, sequences, length]; `sequence_end` int64 and
 * `sequence_score` float32 [rows, sequences].
 * @throws CheckpointError when a tensor is missing or has another shape than the configuration says.
 */
export function captioningGraph(checkpoint: BlipCheckpoint, weights: Weights, options: GraphOptions = {}): Graph {
  const { vision, text } = checkpoint.config;
  const graph = createGraph('captioning');
  const images = addInput(graph, 'images', 'uint8', ['images', vision.imageSize, vision.imageSize, 3]);
  const imageIndex = addInput(graph, 'image_index', 'int64', ['rows']);
  const inputIds = addInput(graph, 'input_ids', 'int64', ['rows', 'prompt_length']);
  const paddingLength = addInput(graph, 'padding_length', 'int64', ['rows']);
  const parameters = addGenerationParameters(graph);

  const model = rootModule(graph, weights, options);
  const decoder = child(model, 'text_decoder');
  const imageEmbeds = visionTransformer(
    child(model, 'vision_model'),
    vision,
    pixelValues(model, images, checkpoint.imageProcessor),
  );
  const cross = crossAttentionStates(child(decoder, 'bert'), text, imageEmbeds, {
    width: text.encoderHiddenSize,
    length: imageTokenCount(vision),
  });
  const imageCount = model.op.dimension(images, 0);
  const rows = rowsByImage(model, imageIndex, imageCount, text.hiddenSize);
  const languageModel = (order: RowsByImage) => bertLanguageModel(decoder, text, { cross, rowsByImage: order });
  const sequences = generate(
    model,
    { inputIds, paddingLength },
    parameters,
    languageModel(rows),
    checkpoint.tokenRules,
    model.form === 'plain'
      ? undefined
      : { fits: areOrdered(model, rows), model: languageModel(orderedRows(model, imageCount, text.hiddenSize)) },
  );

  addGeneratedOutputs(graph, sequences);
  return graph;
}
