import { HandlerError } from '../../protocol/errors.ts';

/** The token that stands for an image before texts of BLIP-2, as transformers names it. */
export const IMAGE_TOKEN = '<image>';

/**
 * transformers fails on such a text: the token would stand for a vector of the image that there is not.
 * @param kind names the text in the message: `prompt`, `text`.
 * @throws HandlerError `INVALID_INPUT`.
 */
export function refuseImageToken(text: string, kind: string, imageToken: string): void {
  if (!text.includes(imageToken)) return;
  const expected = `a ${kind} without ${imageToken}, which stands for the image`;
  throw new HandlerError('INVALID_INPUT', `Expected ${expected}. Leave it out: the image comes first by itself.`);
}
