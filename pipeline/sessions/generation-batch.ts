import type { ParameterColumn } from '../../checkpoint/config/generation-parameters.ts';
import type { RowBatch, RowResults, Sequence } from './row-batch.ts';

/** One text to generate. */
export interface GenerationRow {
  /** The start of the text: [DEC] and the prompt without [SEP], or as models/heads/image-text-to-text.ts says. */
  readonly inputIds: readonly number[];
  /** The text that an encoder reads: in question answering [CLS], the question and [SEP]. */
  readonly questionIds?: readonly number[];
  /** InstructBLIP: the prompt as its Q-Former reads it, [CLS] and [SEP] around. */
  readonly instructionIds?: readonly number[];
  readonly maxNewTokens: number;
  readonly minNewTokens: number;
  readonly seed: number;
}

type GraphInputs = ParameterColumn<'graph'>;

/** The parameters that all rows of a batch share, under transformers' names, as the graph takes them. */
export type SharedSettings = {
  readonly [Name in keyof ParameterColumn<'default'>]: GraphInputs[Name]['elementType'] extends 'bool'
    ? boolean
    : number;
};

/** Rows share everything but prompt, question, lengths and seed. */
export type GenerationBatch = RowBatch<GenerationRow, SharedSettings>;

/** Each row has `num_return_sequences` sequences, best first. */
export type GenerationResult = RowResults<readonly Sequence[]>;
