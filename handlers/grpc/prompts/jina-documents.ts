import { errorText } from '../../../protocol/error-answer.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { describeValue } from '../../../protocol/validation.ts';
import type { DocumentProto } from '../generated/jina/docarray_pb.js';
import { type FailedPrompt, isFailed, type PromptAnswer } from './answer-prompts.ts';

/** The image of a document, and the text about it. */
interface DocumentPrompt {
  readonly image: string | Uint8Array;
  readonly prompt: string;
}

/**
 * Reads a document of DocArray 0.21. Its image is `blob`, else what `uri` names. Its prompt is the tag `prompt`, else
 * `text`, which stands in place of `blob`.
 * @throws HandlerError `INVALID_INPUT`.
 */
export function readDocument({ content, uri, tags }: DocumentProto): DocumentPrompt {
  if (content.case === 'tensor') {
    const instead = 'The pixels of a file are scaled already: call load_uri_to_blob() instead';
    throw new HandlerError('INVALID_INPUT', `Expected a document with blob or uri, got tensor. ${instead}.`);
  }
  const image = content.case === 'blob' && content.value.length > 0 ? content.value : uri;
  if (image.length === 0)
    throw new HandlerError('INVALID_INPUT', 'Expected a document with the image as blob or uri, got neither.');
  const prompt = tags?.['prompt'] ?? (content.case === 'text' ? content.value : '');
  if (typeof prompt === 'string') return { image, prompt };
  throw new HandlerError('INVALID_INPUT', `Expected the tag prompt to be a text, got ${describeValue(prompt)}.`);
}

/** The document as it was sent, with its answer among its tags: `response` and `score`, or `error`. */
export function answeredDocument(document: DocumentProto, answer: PromptAnswer | FailedPrompt): DocumentProto {
  const { response: _response, score: _score, error: _error, ...sent } = document.tags ?? {}; // Of an earlier answer.
  const own = isFailed(answer) ? { error: errorText(answer.error) } : { response: answer.text, score: answer.score };
  return { ...document, tags: { ...sent, ...own } };
}
