import type { OptConfig } from '../../checkpoint/config/opt-config.ts';
import type { Shapes, Tensors } from './random-tensors.ts';

/** The arithmetic of OPT in float64: each step reads all tokens anew, without a cache. */

type Rows = readonly (readonly number[])[];

const DECODER = 'language_model.model.decoder';
const NORM_EPSILON = 1e-5;
const POSITION_OFFSET = 2;

/** An OPT as most are, small enough for arithmetic by hand. */
export const SMALL_OPT: OptConfig = {
  kind: 'opt',
  vocabularySize: 37,
  hiddenSize: 20,
  intermediateSize: 28,
  layerCount: 2,
  headCount: 4,
  headSize: 5,
  keyValueHeadCount: 4,
  maxPositions: 24,
  bosTokenId: 2,
  padTokenId: 1,
  endTokenIds: [9],
  activation: 'relu',
  normFirst: true,
  hasFinalNorm: true,
  hasBias: true,
  hasNormWeights: true,
};

/** The tensors of a checkpoint that is made as `config` says. */
export function optShapes(config: OptConfig, hasHead: boolean): Shapes {
  const { hiddenSize: width, intermediateSize, vocabularySize, maxPositions } = config;
  const linear = (name: string, inputSize: number, outputSize: number, hasBias = config.hasBias) => [
    [`${name}.weight`, [outputSize, inputSize]] as const,
    ...(hasBias ? [[`${name}.bias`, [outputSize]] as const] : []),
  ];
  const norm = (name: string) =>
    config.hasNormWeights
      ? ([
          [`${name}.weight`, [width]],
          [`${name}.bias`, [width]],
        ] as const)
      : [];
  const layers = Array.from({ length: config.layerCount }, (_, index) => `${DECODER}.layers.${index}`).flatMap(
    (layer) => [
      ...['q_proj', 'k_proj', 'v_proj', 'out_proj'].flatMap((name) =>
        linear(`${layer}.self_attn.${name}`, width, width),
      ),
      ...norm(`${layer}.self_attn_layer_norm`),
      ...linear(`${layer}.fc1`, width, intermediateSize),
      ...linear(`${layer}.fc2`, intermediateSize, width),
      ...norm(`${layer}.final_layer_norm`),
    ],
  );
  return [
    [`${DECODER}.embed_tokens.weight`, [vocabularySize, width]],
    [`${DECODER}.embed_positions.weight`, [maxPositions + POSITION_OFFSET, width]],
    ...layers,
    ...(config.hasFinalNorm ? norm(`${DECODER}.final_layer_norm`) : []),
    ...(hasHead ? linear('language_model.lm_head', width, vocabularySize, false) : []),
  ];
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
const dot = (a: readonly number[], b: readonly number[]) => sum(a.map((number, index) => number * (b[index] ?? 0)));
const plus = (a: Rows, b: Rows) =>
  a.map((row, index) => row.map((number, column) => number + (b[index]?.[column] ?? 0)));

class Arithmetic {
  readonly #tensors: Tensors;
  readonly #config: OptConfig;

  constructor(tensors: Tensors, config: OptConfig) {
    this.#tensors = tensors;
    this.#config = config;
  }

  /** Row `index` of a matrix. */
  row(name: string, index: number): readonly number[] {
    const { shape, values } = this.#tensors.get(name) ?? { shape: [], values: new Float32Array() };
    const width = shape[1] ?? 0;
    return Array.from(values.subarray(index * width, (index + 1) * width));
  }

  linear(name: string, rows: Rows): Rows {
    const outputs = this.#tensors.get(`${name}.weight`)?.shape[0] ?? 0;
    const matrix = Array.from({ length: outputs }, (_, index) => this.row(`${name}.weight`, index));
    const bias = this.#tensors.get(`${name}.bias`)?.values;
    return rows.map((row) => matrix.map((weights, index) => dot(row, weights) + (bias?.[index] ?? 0)));
  }

  norm(name: string, rows: Rows): Rows {
    const [scale, shift] = [this.#tensors.get(`${name}.weight`)?.values, this.#tensors.get(`${name}.bias`)?.values];
    return rows.map((row) => {
      const mean = sum(row) / row.length;
      const variance = sum(row.map((number) => (number - mean) ** 2)) / row.length;
      return row.map(
        (number, index) =>
          ((number - mean) / Math.sqrt(variance + NORM_EPSILON)) * (scale?.[index] ?? 1) + (shift?.[index] ?? 0),
      );
    });
  }

  attention(module: string, rows: Rows): Rows {
    const { headCount, headSize } = this.#config;
    const ofHead = (all: Rows, head: number) => all.map((row) => row.slice(head * headSize, (head + 1) * headSize));
    const [queries, keys, values] = ['q_proj', 'k_proj', 'v_proj'].map((name) =>
      this.linear(`${module}.${name}`, rows),
    );
    const heads = Array.from({ length: headCount }, (_, head) =>
      attend(ofHead(queries ?? [], head), ofHead(keys ?? [], head), ofHead(values ?? [], head)),
    );
    return this.linear(
      `${module}.out_proj`,
      rows.map((_, index) => heads.flatMap((head) => head[index] ?? [])),
    );
  }

  layer(module: string, x: Rows): Rows {
    const { normFirst } = this.#config;
    const before = (name: string, rows: Rows) => (normFirst ? this.norm(`${module}.${name}`, rows) : rows);
    const behind = (name: string, rows: Rows) => (normFirst ? rows : this.norm(`${module}.${name}`, rows));
    const attended = this.attention(`${module}.self_attn`, before('self_attn_layer_norm', x));
    const middle = behind('self_attn_layer_norm', plus(x, attended));
    const widened = this.linear(`${module}.fc1`, before('final_layer_norm', middle));
    const activated = widened.map((row) => row.map((number) => Math.max(0, number)));
    return behind('final_layer_norm', plus(middle, this.linear(`${module}.fc2`, activated)));
  }
}

function attend(queries: Rows, keys: Rows, values: Rows): Rows {
  return queries.map((query, index) => {
    const seen = keys.slice(0, index + 1).map((key) => Math.exp(dot(query, key) / Math.sqrt(query.length)));
    const total = sum(seen);
    return query.map((_, column) => sum(seen.map((share, key) => (share / total) * (values[key]?.[column] ?? 0))));
  });
}

/**
 * The logits of the token that follows `tokenIds`.
 * @param image vectors that stand before them.
 */
function logitsByHand(
  tensors: Tensors,
  config: OptConfig,
  tokenIds: readonly number[],
  image: Rows,
): readonly number[] {
  const model = new Arithmetic(tensors, config);
  const words = tokenIds.map((id) => model.row(`${DECODER}.embed_tokens.weight`, id));
  const read = [...image, ...words];
  const positions = read.map((_, index) => model.row(`${DECODER}.embed_positions.weight`, index + POSITION_OFFSET));
  let hidden: Rows = plus(read, positions);
  for (let index = 0; index < config.layerCount; index += 1) hidden = model.layer(`${DECODER}.layers.${index}`, hidden);
  if (config.hasFinalNorm) hidden = model.norm(`${DECODER}.final_layer_norm`, hidden);
  const head = tensors.has('language_model.lm_head.weight') ? 'language_model.lm_head' : `${DECODER}.embed_tokens`;
  return model.linear(head, hidden.slice(-1))[0] ?? [];
}

/** Greedy search: the prompt and the new tokens, which have log-probabilities. */
export function greedyByHand(
  tensors: Tensors,
  config: OptConfig,
  prompt: readonly number[],
  count: number,
  image: Rows = [],
) {
  const tokenIds = [...prompt];
  const logprobs: number[] = [];
  while (logprobs.length < count && !config.endTokenIds.includes(tokenIds.at(-1) ?? -1)) {
    const logits = logitsByHand(tensors, config, tokenIds, image);
    const best = Math.max(...logits);
    tokenIds.push(logits.indexOf(best));
    logprobs.push(-Math.log(sum(logits.map((logit) => Math.exp(logit - best)))));
  }
  return { tokenIds, logprobs };
}
