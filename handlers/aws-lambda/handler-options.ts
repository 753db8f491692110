import type { Context } from 'aws-lambda';
import type { OnResult } from './sqs.ts';

export interface HandlerOptions {
  /** Takes the results of SQS messages; by default the log does. */
  readonly onResult?: OnResult;
  /** Leading segments that a custom domain puts in front of every path, such as `/captions`. */
  readonly basePath?: string;
}

/** The function that Lambda calls: one event of any kind, one answer. */
export type LambdaHandler = (event: unknown, context: Context) => Promise<unknown>;
