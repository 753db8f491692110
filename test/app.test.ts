import { readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import Handler, { HandlerError, type Inputs, type Settings, settingsFromEnvironment } from '../app.ts';
import { checkpointFolder } from './support/goldens.ts';
import { dataUri, type ImageServer, startImageServer, testSettings } from './support/server.ts';
import { temporaryFolder } from './support/temporary-folder.ts';
import { expectHandlerError, thrownBy } from './support/thrown.ts';

const chelsea = dataUri('chelsea');
const rocket = dataUri('rocket');

let images: ImageServer;

beforeAll(async () => {
  images = await startImageServer();
});

afterAll(() => images?.close());

describe('infer', () => {
  let model: Handler;

  beforeAll(async () => {
    model = new Handler(testSettings());
    await model.initialize();
  });

  afterAll(() => model?.finalize());

  test('one image has one caption, as text', async () => {
    const result = await model.infer({ img_url: chelsea, text: 'a picture of' });
    expect(result).toEqual({ generated_output: expect.stringMatching(/^a picture of/) });
  });

  test('a list of one image is one image', async () => {
    expect(await model.infer({ img_url: [chelsea] })).toEqual(await model.infer({ img_url: chelsea }));
  });

  test('several images have a list of captions', async () => {
    const [first, second] = [await model.infer({ img_url: chelsea }), await model.infer({ img_url: rocket })];
    expect(await model.infer({ img_url: [chelsea, rocket] })).toEqual({
      generated_output: [first.generated_output, second.generated_output],
    });
  });

  test('several captions of one image are a list too', async () => {
    const result = await model.infer({ img_url: chelsea, num_beams: 3, num_return_sequences: 3 });
    expect(result).toEqual({ generated_output: Array.from({ length: 3 }, () => expect.any(String)) });
  });

  test('absent inputs may be undefined or null, as platforms pass them', async () => {
    // Untyped callers may pass null and undefined.
    const absent = { img_url: chelsea, text: null, num_beams: undefined, seed: null } as unknown as Inputs;
    expect(await model.infer(absent)).toEqual(await model.infer({ img_url: chelsea }));
  });

  test('when some images fail, the others have captions and error says why', async () => {
    const good = await model.infer({ img_url: chelsea });
    expect(await model.infer({ img_url: [`${images.url}/missing.png`, chelsea] })).toEqual({
      generated_output: ['', good.generated_output],
      error: [expect.stringMatching(/^IMAGE_FETCH_FAILED: Image [12] of [23]: Expected .*404/), ''],
    });
  });

  test('when all fail, it throws what the first failed with', async () => {
    await expectHandlerError(model.infer({ img_url: `${images.url}/missing.png` }), 'IMAGE_FETCH_FAILED');
    await expectHandlerError(
      model.infer({ img_url: [`${images.url}/page.html`, `${images.url}/missing.png`] }),
      'IMAGE_UNSUPPORTED',
    );
  });

  test('every generation parameter has its type', async () => {
    const inputs: Inputs = {
      img_url: [chelsea, rocket],
      text: ['the', 'a picture of'],
      max_new_tokens: 8,
      min_new_tokens: 2,
      num_beams: 3,
      length_penalty: -0.5,
      early_stopping: 'never',
      num_return_sequences: 2,
      repetition_penalty: 1.2,
      no_repeat_ngram_size: 2,
      do_sample: true,
      temperature: 0.9,
      top_k: 20,
      top_p: 0.95,
      seed: 7,
    };
    const first = await model.infer(inputs);
    expect(first.generated_output).toHaveLength(4);
    expect(await model.infer(inputs)).toEqual(first);
    expect(await model.infer({ ...inputs, early_stopping: true })).toHaveProperty('generated_output');
    // @ts-expect-error early_stopping is one of the values that input_schema.ts allows.
    await expectHandlerError(model.infer({ ...inputs, early_stopping: 'soon' }), 'INVALID_INPUT');
    // @ts-expect-error num_beams is one number.
    await expectHandlerError(model.infer({ ...inputs, num_beams: '3' }), 'INVALID_INPUT');
    // @ts-expect-error num_beams is one number.
    await expectHandlerError(model.infer({ ...inputs, num_beams: [3, 3] }), 'INVALID_INPUT');
    await expectHandlerError(model.infer({ text: 'the' }), 'INVALID_INPUT');
    // @ts-expect-error There is no such input.
    await expectHandlerError(model.infer({ img_url: chelsea, image: chelsea }), 'INVALID_INPUT');
  });

  test.each([[undefined], [null], ['text'], [[]], [42], [{}], [{ img_url: [] }], [{ img_url: [null] }]])(
    'anything but a dictionary with an image is refused: %j',
    async (inputs) => {
      await expectHandlerError(model.infer(inputs as unknown as Inputs), 'INVALID_INPUT'); // Untyped callers may pass it.
    },
  );
});

describe('infer of the other tasks', () => {
  const checkpoints = ['answers-float32', 'retrieval-wide-vision', 'clip-placeholder-end'] as const;
  const models = checkpoints.map((name) => new Handler(testSettings({ checkpoint: checkpointFolder(name) })));
  const [answers, matches, clip] = models as [Handler, Handler, Handler]; // Three in, three out.

  beforeAll(() => Promise.all(models.map((model) => model.initialize())));
  afterAll(() => Promise.all(models.map((model) => model.finalize())));

  test('a question has an answer, several a list, and only questions are taken', async () => {
    const inputs: Inputs = { img_url: chelsea, question: 'is the cat black?' };
    const { answer, ...others } = await answers.infer(inputs);
    const text: string | readonly string[] | undefined = answer;
    expect(text).toBe('playing playing'); // As in the goldens of this checkpoint.
    expect(others).toEqual({});
    const both = await answers.infer({ ...inputs, question: ['is the cat black?', 'red'], num_beams: 1 });
    expect(both.answer).toEqual(['playing playing', expect.any(String)]);
    await expectHandlerError(answers.infer({ img_url: chelsea, question: 'red', text: 'red' }), 'INVALID_INPUT');
    await expectHandlerError(answers.infer({ img_url: chelsea }), 'INVALID_INPUT'); // A caption's inputs.
    // @ts-expect-error Answers to choose from are texts.
    await expectHandlerError(answers.infer({ ...inputs, candidates: [1, 2] }), 'INVALID_INPUT');
  });

  test('one pair matches by one number, several by a list, picture by picture', async () => {
    const one = await matches.infer({ img_url: chelsea, text: 'a cat' });
    const probability: number | readonly number[] | undefined = one.match_probability;
    expect(probability).toBeGreaterThan(0);
    expect(one).toEqual({ match_probability: expect.any(Number), cosine_similarity: expect.any(Number) });
    const inputs: Inputs = { img_url: [chelsea, rocket], text: ['a cat', 'a rocket', 'two'], rerank_top_k: 1 };
    const { match_probability: all } = await matches.infer(inputs);
    expect(all).toHaveLength(6);
    // @ts-expect-error Nothing is generated.
    await expectHandlerError(matches.infer({ img_url: rocket, text: '', rerank_top_k: 1, seed: 7 }), 'INVALID_INPUT');
    // @ts-expect-error rerank_top_k is one number.
    await expectHandlerError(matches.infer({ ...inputs, rerank_top_k: '1' }), 'INVALID_INPUT');
    await expectHandlerError(matches.infer({ img_url: chelsea }), 'INVALID_INPUT'); // A caption's inputs.
  });

  test('pictures, texts or both are encoded, and compared where there are both', async () => {
    const texts: Inputs = { text: ['a cat', 'a rocket'], normalize: true };
    const { text_embeds: embeds, ...others } = await clip.infer(texts);
    const numbers: number | readonly number[] | undefined = embeds;
    expect(numbers).toHaveLength(2 * 24);
    expect(others).toEqual({});
    expect(Object.keys(await clip.infer({ img_url: [chelsea, rocket] }))).toEqual(['image_embeds']);
    const both = await clip.infer({ ...texts, img_url: chelsea });
    expect(Object.keys(both)).toEqual(['image_embeds', 'text_embeds', 'probability', 'cosine_similarity']);
    expect(both.probability).toHaveLength(2);
    const amongTexts: Inputs = { text: ['a cat', 'a rocket'], queries: 0, candidates: [0, 1] };
    expect(await clip.infer(amongTexts)).toMatchObject({
      cosine_similarity: [expect.closeTo(1, 5), expect.any(Number)],
    });
    // @ts-expect-error normalize is true or false.
    await expectHandlerError(clip.infer({ text: 'a cat', normalize: 1 }), 'INVALID_INPUT');
    // @ts-expect-error Items are compared by their numbers.
    await expectHandlerError(clip.infer({ text: ['a', 'b'], queries: [0], candidates: ['b'] }), 'INVALID_INPUT');
    await expectHandlerError(clip.infer({ img_url: chelsea, question: 'red' }), 'INVALID_INPUT'); // An answer's inputs.
  });
});

/** Threads of this process, as the kernel counts them. */
function threadCount(): number {
  return readdirSync('/proc/self/task').length;
}

describe('the lifecycle', () => {
  test('before initialize and after finalize there is no model', async () => {
    const model = new Handler(testSettings());
    await expectHandlerError(model.infer({ img_url: chelsea }), 'NOT_READY');
    await model.initialize();
    expect(model.model).toBeDefined();
    await model.finalize();
    expect(model.model).toBeUndefined();
    await expectHandlerError(model.infer({ img_url: chelsea }), 'NOT_READY');
  });

  test('finalize before initialize, and twice, does nothing', async () => {
    const model = new Handler(testSettings());
    await model.finalize();
    await model.initialize();
    await Promise.all([model.finalize(), model.finalize()]);
    await model.finalize();
  });

  test('initialize again gives the same captions', async () => {
    const model = new Handler(testSettings());
    await model.initialize();
    const first = await model.infer({ img_url: chelsea });
    await model.finalize();
    await model.initialize();
    expect(await model.infer({ img_url: chelsea })).toEqual(first);
    await model.finalize();
  });

  test('initialize twice, even at once, loads one model, and finalize releases it', async () => {
    const model = new Handler(testSettings({ workerCount: 1, threadsPerWorker: 1 }));
    const threadsBefore = threadCount();
    await model.initialize();
    const first = model.model;
    await model.initialize();
    expect(model.model).toBe(first);
    await model.finalize();
    await Promise.all([model.initialize(), model.initialize()]);
    expect(model.model).not.toBe(first);
    expect(await model.infer({ img_url: chelsea })).toMatchObject({ generated_output: expect.any(String) });
    await model.finalize();
    // A second model that nobody closed would keep its thread.
    await expect.poll(threadCount).toBeLessThanOrEqual(threadsBefore);
  });

  test('finalize while initialize runs leaves no model', async () => {
    const model = new Handler(testSettings());
    const initialized = model.initialize().catch(() => undefined); // Whether it succeeds does not matter here.
    await model.finalize();
    await initialized;
    expect(model.model).toBeUndefined();
    await model.finalize();
  });

  test('finalize waits for captions that run, and they are not lost', async () => {
    const pictures = await startImageServer();
    const model = new Handler(testSettings());
    await model.initialize();
    const expected = await model.infer({ img_url: chelsea });
    const order: string[] = [];
    const running = model.infer({ img_url: `${pictures.url}/held.png` }).then((result) => {
      order.push('captioned');
      return result;
    });
    await pictures.held(1);
    const finalized = model.finalize().then(() => order.push('finalized'));
    await expectHandlerError(model.infer({ img_url: chelsea }), 'NOT_READY');
    expect(order).toEqual([]);
    pictures.release();
    expect(await running).toEqual(expected);
    await finalized;
    expect(order).toEqual(['captioned', 'finalized']);
    await pictures.close();
  });

  test('finalize waits for captions that run in beam search too', async () => {
    const model = new Handler(testSettings({ maxBatchSize: 2 }));
    await model.initialize();
    const results = Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        model.infer({ img_url: dataUri('small', String(index)), num_beams: 16, max_new_tokens: 30 }),
      ),
    );
    await model.finalize();
    for (const { generated_output: caption } of await results) expect(caption).toMatch(/\S/);
  });

  test('a checkpoint that cannot be loaded leaves nothing behind', async () => {
    const model = new Handler(testSettings({ checkpoint: '/nowhere/at/all' }));
    await expect(model.initialize()).rejects.toThrow('/nowhere/at/all');
    await expect(model.initialize()).rejects.toThrow('/nowhere/at/all');
    expect(model.model).toBeUndefined();
    await model.finalize();
  });

  test('a start that failed leaves a later one alone', async () => {
    const checkpoint = join(temporaryFolder(), 'checkpoint');
    const model = new Handler(testSettings({ checkpoint }));
    const first = model.initialize();
    symlinkSync(checkpointFolder('narrow-vision'), checkpoint);
    const finalized = model.finalize();
    const second = model.initialize();
    await expect(first).rejects.toThrow(checkpoint);
    await finalized;
    await second;
    expect(model.model).toBeDefined();
    await model.finalize();
  });
});

describe('the settings', () => {
  test('of a handler are those in code, and of the environment where code says nothing', async () => {
    vi.stubEnv('BLIP_EXECUTION_PROVIDER', 'cpu');
    vi.stubEnv('BLIP_CHECKPOINT', '/nowhere');
    const model = new Handler({ checkpoint: checkpointFolder('narrow-vision'), modelName: 'mine' });
    expect(model.settings).toMatchObject({ executionProvider: 'cpu', modelName: 'mine', maxBatchSize: 'auto' });
    await model.initialize();
    expect(await model.infer({ img_url: chelsea })).toMatchObject({ generated_output: expect.any(String) });
    await model.finalize();
  });

  test('are the environment without an argument, and with an empty one', () => {
    expect(new Handler().settings).toEqual(settingsFromEnvironment());
    expect(new Handler({}).settings).toEqual(settingsFromEnvironment());
  });

  test('have names and types that the compiler knows', () => {
    // @ts-expect-error There is no such setting.
    const misspelt = () => new Handler({ checkpiont: 'a/b' });
    // @ts-expect-error A count is a number or auto.
    const mistyped = () => new Handler({ workerCount: 'many' });
    // @ts-expect-error Settings are an object.
    const text = () => new Handler('a/b');
    for (const make of [misspelt, mistyped, text]) {
      expect(thrownBy(make)).toBeInstanceOf(HandlerError);
      expect(thrownBy(make)).toMatchObject({ code: 'SETTINGS_INVALID' });
    }
    const chosen: Partial<Settings> = { checkpoint: 'a/b' };
    expect(new Handler(chosen).settings.checkpoint).toBe('a/b');
  });
});
