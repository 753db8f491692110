/**
 * The parameters of generation, under transformers' names (generation/configuration_utils.py). Everything that knows
 * parameters follows from this table: the inputs of requests, the check of a checkpoint's own values, the defaults, the
 * inputs of the graphs and their feeds.
 */

/** One parameter. A column is absent where it does not apply. */
interface GenerationParameter {
  /** The input of requests, in the form of input_schema.ts. */
  readonly input?: {
    readonly datatype: 'STRING' | 'INT64' | 'FP32' | 'BOOL';
    readonly required: false;
    readonly shape: readonly [1];
    readonly example: readonly [string | number | boolean];
    readonly description: string;
    readonly allowed?: readonly (string | boolean)[];
    readonly minimum?: number;
    readonly exclusiveMinimum?: number;
    readonly maximum?: number;
  };
  /** Whether a value in generation_config.json, or in `text_config` of config.json, is valid. */
  readonly checkpoint?: (value: unknown) => value is number | boolean | string;
  /** transformers' `_get_default_generation_params`. */
  readonly default?: number | boolean;
  /** The input of the graphs that generate: a scalar, or one value for each row. */
  readonly graph?: {
    readonly elementType: 'int64' | 'float32' | 'bool';
    readonly shape: readonly [] | readonly ['rows'];
    /** The order of a graph's inputs is the table's, except that these come before all others. */
    readonly comesFirst?: true;
    /** The number of each value, where values are no numbers. */
    readonly numbers?: Readonly<Record<string, number>>;
  };
}

/** Tensors of 32 bits hold no greater count, and no greater count makes sense. */
export const MAX_COUNT = 2_147_483_647;

/** Whose defaults hold: of BLIP's tasks, and of BLIP-2's. */
export const blipPresets = ['hf', 'bentoblip', 'original-blip'] as const;
export const imageTextPresets = ['hf', 'vqa', 'original-blip'] as const;
export type PresetName = (typeof blipPresets)[number] | (typeof imageTextPresets)[number];

const optional = { required: false, shape: [1] } as const;

export const generationParameters = {
  preset: {
    input: {
      ...optional,
      datatype: 'STRING',
      example: ['hf'],
      allowed: blipPresets,
      description:
        "Whose defaults hold for what the request leaves open: transformers' (hf), BentoBLIP's, or the original BLIP's.",
    },
  },
  max_length: {
    input: {
      ...optional,
      datatype: 'INT64',
      example: [30],
      minimum: 1,
      maximum: MAX_COUNT,
      description: 'The most tokens a text has, its start token, prompt and end token included. max_new_tokens wins.',
    },
    checkpoint: isPositiveCount,
  },
  max_new_tokens: {
    input: {
      ...optional,
      datatype: 'INT64',
      example: [20],
      minimum: 1,
      maximum: MAX_COUNT,
      description: 'The most tokens a text has, its end token included.',
    },
    checkpoint: isPositiveCount,
    graph: { elementType: 'int64', shape: ['rows'], comesFirst: true },
  },
  min_length: {
    input: {
      ...optional,
      datatype: 'INT64',
      example: [10],
      minimum: 0,
      maximum: MAX_COUNT,
      description: 'The fewest tokens before a text may end, start token and prompt included. min_new_tokens wins.',
    },
    checkpoint: isCount,
  },
  min_new_tokens: {
    input: {
      ...optional,
      datatype: 'INT64',
      example: [5],
      minimum: 0,
      maximum: MAX_COUNT,
      description: 'The fewest tokens before a text may end.',
    },
    checkpoint: isCount,
    graph: { elementType: 'int64', shape: ['rows'], comesFirst: true },
  },
  num_beams: {
    input: {
      ...optional,
      datatype: 'INT64',
      example: [3],
      minimum: 1,
      maximum: 32,
      description: 'Beams that compete in beam search; 1 is greedy search.',
    },
    checkpoint: isPositiveCount,
    default: 1,
    graph: { elementType: 'int64', shape: [], comesFirst: true },
  },
  length_penalty: {
    input: {
      ...optional,
      datatype: 'FP32',
      example: [1],
      minimum: -10,
      maximum: 10,
      description: 'Power of the length that a sequence score is divided by: above 0 favours long texts.',
    },
    checkpoint: isNumber,
    default: 1,
    graph: { elementType: 'float32', shape: [] },
  },
  early_stopping: {
    input: {
      ...optional,
      datatype: 'STRING',
      example: ['never'],
      allowed: [true, false, 'true', 'false', 'never'],
      description:
        'When beam search ends: as soon as num_beams texts are complete (true), when a better one is unlikely (false), or impossible (never).',
    },
    checkpoint: isEarlyStopping,
    default: false,
    graph: { elementType: 'int64', shape: [], numbers: { false: 0, true: 1, never: 2 } },
  },
  num_return_sequences: {
    input: {
      ...optional,
      datatype: 'INT64',
      example: [1],
      minimum: 1,
      maximum: 32,
      description: 'Texts per image and prompt; more than 1 needs num_beams or do_sample.',
    },
    checkpoint: isPositiveCount,
    default: 1,
    graph: { elementType: 'int64', shape: [], comesFirst: true },
  },
  repetition_penalty: {
    input: {
      ...optional,
      datatype: 'FP32',
      example: [1.5],
      minimum: 0.001,
      maximum: 100,
      description: 'Makes tokens that stand in the text already less likely (above 1) or more (below 1).',
    },
    checkpoint: isPositive,
    default: 1,
    graph: { elementType: 'float32', shape: [] },
  },
  no_repeat_ngram_size: {
    input: {
      ...optional,
      datatype: 'INT64',
      example: [3],
      minimum: 0,
      maximum: MAX_COUNT,
      description: 'No run of this many tokens may occur twice; 0 turns it off.',
    },
    checkpoint: isCount,
    default: 0,
    graph: { elementType: 'int64', shape: [] },
  },
  do_sample: {
    input: {
      ...optional,
      datatype: 'BOOL',
      example: [true],
      description: 'Draws tokens at random by their probability, in place of taking the best.',
    },
    checkpoint: isBoolean,
    default: false,
    graph: { elementType: 'bool', shape: [] },
  },
  temperature: {
    input: {
      ...optional,
      datatype: 'FP32',
      example: [0.7],
      minimum: 0.001,
      maximum: 100,
      description: 'Sampling: scores are divided by it, so that below 1 likely tokens are drawn more often.',
    },
    checkpoint: isPositive,
    default: 1,
    graph: { elementType: 'float32', shape: [] },
  },
  top_k: {
    input: {
      ...optional,
      datatype: 'INT64',
      example: [50],
      minimum: 0,
      maximum: MAX_COUNT,
      description: 'Sampling: only this many of the best tokens can be drawn; 0 allows all.',
    },
    checkpoint: isCount,
    default: 50,
    graph: { elementType: 'int64', shape: [] },
  },
  top_p: {
    input: {
      ...optional,
      datatype: 'FP32',
      example: [0.9],
      exclusiveMinimum: 0,
      maximum: 1,
      description: 'Sampling: only the best tokens that together have this probability can be drawn.',
    },
    checkpoint: isPositiveProbability,
    default: 1,
    graph: { elementType: 'float32', shape: [] },
  },
  min_p: {
    input: {
      ...optional,
      datatype: 'FP32',
      example: [0.05],
      minimum: 0,
      maximum: 1,
      description: 'Sampling: only tokens at least this fraction as probable as the best can be drawn; 0 allows all.',
    },
    checkpoint: isProbability,
    default: 0,
    graph: { elementType: 'float32', shape: [] },
  },
  seed: {
    input: {
      ...optional,
      datatype: 'INT64',
      example: [42],
      minimum: 0,
      maximum: 4_294_967_295,
      description: 'Sampling: the same seed draws the same texts.',
    },
  },
} as const satisfies Record<string, GenerationParameter>;

type Table = typeof generationParameters;
type ColumnName = keyof GenerationParameter;

/** One column of the table, by the names of the rows that have it, in the table's order. */
export type ParameterColumn<Column extends ColumnName> = {
  readonly [Name in keyof Table as Table[Name] extends Readonly<Record<Column, unknown>>
    ? Name
    : never]: Table[Name] extends Readonly<Record<Column, infer Cell>> ? Cell : never;
};

export function parameterColumn<Column extends ColumnName>(column: Column): ParameterColumn<Column> {
  const rows: readonly [string, GenerationParameter][] = Object.entries(generationParameters);
  const cells = rows.map(([name, row]) => [name, row[column]]).filter(([, cell]) => cell !== undefined);
  return Object.fromEntries(cells) as ParameterColumn<Column>; // The cells of a constant, by their own names.
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

function isPositive(value: unknown): value is number {
  return isNumber(value) && value > 0;
}

function isProbability(value: unknown): value is number {
  return isNumber(value) && value >= 0 && value <= 1;
}

function isPositiveProbability(value: unknown): value is number {
  return isPositive(value) && value <= 1;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function isPositiveCount(value: unknown): value is number {
  return isCount(value) && value > 0;
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === 'boolean';
}

function isEarlyStopping(value: unknown): value is boolean | 'never' {
  return typeof value === 'boolean' || value === 'never';
}
