import { describe, expect, test } from 'vitest';
import { checkpointFolder } from '../../support/goldens.ts';
import { failureOf, responseOf } from '../../support/lambda.ts';
import { bytes, dataUri } from '../../support/server.ts';
import { withFunction } from '../../support/with-server.ts';

/** A client that may invoke the function sends a request body, and gets the answer or an error with our code. */

/** IAM lets callers in; tokens are for HTTP. */
const single = withFunction({ lambdaAuthorizer: 'tokens' });
const several = withFunction({
  models: [
    { name: 'words', checkpoint: checkpointFolder('narrow-vision') },
    { name: 'vectors', checkpoint: checkpointFolder('clip-placeholder-end') },
  ],
});

const image = bytes('img_url', [dataUri('chelsea')]);

describe('a body of the protocol', () => {
  test('gets an answer of the protocol', async () => {
    const request = { id: 'x', inputs: [image, bytes('text', ['a picture of'])], parameters: { max_new_tokens: 3 } };
    expect(await single.invoke(request)).toEqual({
      model_name: 'captioning',
      model_version: '1',
      id: 'x',
      parameters: { precision: 'float32' },
      outputs: [
        { name: 'generated_output', datatype: 'BYTES', shape: [1], data: [expect.stringMatching(/^a picture of/)] },
      ],
    });
  });

  test('gets the outputs that it names', async () => {
    const answer = responseOf(await single.invoke({ inputs: [image], outputs: [{ name: 'sequence_logprob' }] }));
    expect(answer.outputs).toEqual([expect.objectContaining({ name: 'sequence_logprob', datatype: 'FP32' })]);
  });

  test('gets results for the good images beside an error for a bad one', async () => {
    const request = { inputs: [bytes('img_url', [dataUri('chelsea'), 'data:;base64,AAAA'])] };
    const answer = responseOf(await single.invoke(request));
    expect(answer.outputs.map(({ name }) => name)).toEqual(['generated_output', 'error']);
    expect(answer.outputs[1]?.data).toEqual(['', expect.stringMatching(/^IMAGE_/)]);
  });
});

describe('inputs alone', () => {
  test('get an answer of the protocol too', async () => {
    const flat = await single.invoke({ img_url: dataUri('chelsea'), text: 'a picture of', max_new_tokens: 3, id: 'y' });
    const parameters = { max_new_tokens: 3 };
    expect(flat).toEqual(
      await single.invoke({ id: 'y', inputs: [image, bytes('text', ['a picture of'])], parameters }),
    );
  });
});

describe('several models', () => {
  test('are chosen by model_name', async () => {
    const words = responseOf(await several.invoke({ model_name: 'words', inputs: [image] }));
    const vectors = responseOf(await several.invoke({ model_name: 'vectors', text: ['a cat', 'a dog'] }));
    expect([words.model_name, vectors.model_name]).toEqual(['words', 'vectors']);
  });

  test('are an error without model_name', async () => {
    expect(await failureOf(several.invoke({ inputs: [image] }))).toEqual({
      errorType: 'INVALID_REQUEST',
      errorMessage: 'Expected model_name to be one of words, vectors, got none.',
    });
    expect(await failureOf(several.invoke({ model_name: 'other', inputs: [image] }))).toMatchObject({
      errorType: 'NOT_FOUND',
    });
  });

  test('may be one: model_name may name it', async () => {
    expect(responseOf(await single.invoke({ model_name: 'captioning', inputs: [image] })).outputs).toHaveLength(1);
    expect(await failureOf(single.invoke({ model_name: 'x', inputs: [image] }))).toMatchObject({
      errorType: 'NOT_FOUND',
    });
  });
});

describe('a failure has our code as its type', () => {
  test.each([
    ['nothing', null, 'INVALID_REQUEST'],
    ['text', 'a cat', 'INVALID_REQUEST'],
    ['no inputs', { inputs: [] }, 'INVALID_REQUEST'],
    ['a name that is no text', { model_name: 7, inputs: [image] }, 'INVALID_REQUEST'],
    ['an event of S3', { Records: [{ eventSource: 'aws:s3', s3: {} }] }, 'INVALID_INPUT'],
    [
      'an event of EventBridge',
      { source: 'aws.events', 'detail-type': 'Scheduled Event', detail: {} },
      'INVALID_INPUT',
    ],
    ['a blocked image', { img_url: 'http://169.254.169.254/latest/meta-data' }, 'IMAGE_SOURCE_BLOCKED'],
    ['a corrupt image', { img_url: 'data:;base64,AAAA' }, 'IMAGE_UNSUPPORTED'],
    ['contradicting parameters', { img_url: dataUri('small'), num_return_sequences: 4 }, 'INVALID_PARAMETER'],
  ])('%s', async (_name, event, code) => {
    expect(await failureOf(single.invoke(event))).toEqual({
      errorType: code,
      errorMessage: expect.stringMatching(/^Expected .*\.$/),
    });
  });

  test('an answer that is too large', async () => {
    const failure = await failureOf(single.invoke({ inputs: [image], id: 'x'.repeat(6 * 1024 * 1024) }));
    expect(failure).toMatchObject({ errorType: 'PAYLOAD_TOO_LARGE', errorMessage: expect.stringContaining('6291456') });
  });
});
