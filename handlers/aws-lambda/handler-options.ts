import type { Context } from 'aws-lambda';
import type { OnResult } from './sqs.ts';

export interface HandlerOptions {
  /** Takes the results of SQS messages, in place of the log. */
  readonly onResult?: OnResult;
  /** Leading segments of a path that a custom domain puts in front of ours, such as `/captions`. */
  readonly basePath?: string;
}

/** What Lambda calls: one event of any kind, one answer. */
export type Handler = (event: unknown, context: Context) => Promise<unknown>;
