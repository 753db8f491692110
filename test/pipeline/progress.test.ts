import { expect, onTestFinished, test } from 'vitest';
import Handler from '../../app.ts';
import { checkpointFolder } from '../support/goldens.ts';
import { dataUri, testSettings } from '../support/server.ts';

/** The events of a request's progress, for every task. */

const image = dataUri('small');

test.each([
  ['narrow-vision', { img_url: image }],
  ['answers-float32', { img_url: image, question: 'what is this?' }],
  ['retrieval-wide-vision', { img_url: image, text: 'a cat' }],
  ['clip-real-end', { img_url: image, text: 'a cat' }],
] as const)('%s', async (checkpoint, inputs) => {
  const model = new Handler(testSettings({ checkpoint: checkpointFolder(checkpoint), maxQueueSize: 2 }));
  onTestFinished(() => model.finalize());
  await model.initialize();
  const progress: string[] = [];
  const events = { accepted: () => progress.push('accepted'), computing: () => progress.push('computing') };
  await model.inferTensors({ inputs, events });
  expect(progress).toEqual(['accepted', 'computing']);
  const many = { ...inputs, img_url: [image, image, image] };
  await expect(model.inferTensors({ inputs: many, events })).rejects.toMatchObject({
    code: 'INVALID_INPUT',
  });
  expect(progress).toHaveLength(2);
});
