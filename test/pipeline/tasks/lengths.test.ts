import { describe, expect, test } from 'vitest';
import Handler from '../../../app.ts';
import type { NamedTensor } from '../../../protocol/named-tensor.ts';
import { checkpointFolder, type ImageName, readGoldenJson } from '../../support/goldens.ts';
import { dataUri, testSettings } from '../../support/server.ts';
import { expectHandlerError } from '../../support/thrown.ts';

/** The lengths of a text, with its start token and prompt, against transformers (test/fixtures/make_length_goldens.py). */

interface GoldenLength {
  readonly image: ImageName;
  readonly text: string | null;
  readonly parameters: Readonly<Record<string, number>>;
  /** Null where transformers refuses the request, as the prompt leaves no room. */
  readonly token_ids: readonly number[] | null;
}

const goldens = readGoldenJson<{
  readonly captions: readonly GoldenLength[];
  readonly answers: readonly GoldenLength[];
}>('lengths.json');

const dataOf = (outputs: readonly NamedTensor[], name: string) => outputs.find((each) => each.name === name)?.data;

describe.each([
  ['captions', 'narrow-vision', 'text'],
  ['answers', 'answers-float32', 'question'],
] as const)('%s', (kind, checkpoint, textInput) => {
  test('have the lengths that transformers gives them', async () => {
    const handler = new Handler(testSettings({ checkpoint: checkpointFolder(checkpoint) }));
    await handler.initialize();
    try {
      let refused = 0;
      for (const { image, text, parameters, token_ids: tokenIds } of goldens[kind]) {
        const inputs = { img_url: dataUri(image), ...(text === null ? {} : { [textInput]: text }), ...parameters };
        const asked = handler.inferTensors({ inputs, outputs: ['token_ids'] });
        const name = `${image} ${text} ${JSON.stringify(parameters)}`;
        if (tokenIds === null) {
          const { message } = await expectHandlerError(asked, 'PROMPT_TOO_LONG');
          expect(message, name).toMatch(/^Expected max_length to be more than the start token and the prompt, got /);
          refused += 1;
        } else expect(dataOf((await asked).outputs, 'token_ids'), name).toEqual(tokenIds);
      }
      expect(goldens[kind].length - refused).toBeGreaterThan(20);
    } finally {
      await handler.finalize();
    }
  });
});
