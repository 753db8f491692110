import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { builtBundle } from '../../support/built-bundle.ts';
import { programEnvironment } from '../../support/bundle.ts';
import { functionUrlEvent, sqsEvent } from '../../support/lambda-events.ts';
import { bytes, dataUri, INFER_PATH } from '../../support/server.ts';

/** The deployed function: a process of its own imports dist/aws-lambda.js, as Lambda's runtime does. */

const bundle = builtBundle();

/** Imports the function, sends it events one after another, and prints the outcome of each. */
const runtime = `
  globalThis.awslambda = { streamifyResponse: (handler) => Object.assign(handler, { isStreaming: true }) };
  const outcome = async (answer) => { try { return { answer: await answer() }; } catch ({ name, message }) { return { name, message }; } };
  const events = JSON.parse(process.env.EVENTS);
  const startMs = performance.now();
  let module;
  const outcomes = [await outcome(async () => { module = await import(process.env.FUNCTION); return Object.keys(module); })];
  const importMs = performance.now() - startMs;
  const isStreaming = module?.streamHandler.isStreaming;
  const context = { getRemainingTimeInMillis: () => 20_000 };
  const taken = [];
  const customHandler = module?.createHandler({ onResult: ({ record }) => void taken.push(record.messageId) });
  for (const event of module === undefined ? [] : events)
    outcomes.push(await outcome(() => ('Records' in event ? customHandler : module.handler)(event, context)));
  process.stderr.write(JSON.stringify({ outcomes, isStreaming, taken, importMs }));
  if (module === undefined) process.exit();
  process.kill(process.pid, 'SIGTERM');
  setTimeout(() => process.exit(1), 5_000);
`;

interface Outcome {
  readonly answer?: unknown;
  readonly name?: string;
  readonly message?: string;
}

interface Run {
  readonly outcomes: readonly Outcome[];
  readonly isStreaming: boolean | undefined;
  /** Messages whose results a handler with options has taken. */
  readonly taken: readonly string[];
  readonly importMs: number;
  readonly log: readonly Readonly<Record<string, unknown>>[];
}

/** The process must end by itself after SIGTERM. */
async function run(events: readonly object[], variables: Readonly<Record<string, string>> = {}): Promise<Run> {
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', runtime], {
    cwd: bundle.folder,
    env: programEnvironment({
      FUNCTION: `${bundle.folder}/dist/aws-lambda.js`,
      EVENTS: JSON.stringify(events),
      ...variables,
    }),
  });
  const log = stdout.split('\n').filter((line) => line !== '');
  return { ...JSON.parse(stderr), log: log.map((line) => JSON.parse(line)) };
}

const request = { inputs: [bytes('img_url', [dataUri('small')])] };

describe('dist/aws-lambda.js', () => {
  test('loads the model in the init phase and answers', async () => {
    const { outcomes, isStreaming, log } = await run(
      [
        request,
        functionUrlEvent({ path: INFER_PATH, body: request, headers: { Authorization: 'Bearer a-token' } }),
        functionUrlEvent({ path: '/v2' }),
        { inputs: [] },
      ],
      { BLIP_API_TOKENS: 'a-token' },
    );
    expect(outcomes).toMatchObject([
      { answer: ['createHandler', 'handler', 'streamHandler'] },
      { answer: { model_name: 'captioning' } },
      { answer: { statusCode: 200, isBase64Encoded: false } },
      { answer: { statusCode: 200 } },
      { name: 'INVALID_REQUEST' },
    ]);
    expect(isStreaming).toBe(true);
    expect(log.map(({ msg }) => msg).slice(0, 3)).toEqual([
      expect.stringContaining('generation_config.json sets '),
      'ready',
      'incoming request',
    ]);
  });

  test('answers invocations without tokens, but no HTTP event', async () => {
    const { outcomes } = await run([request, functionUrlEvent({ path: '/v2' })]);
    expect(outcomes.slice(1)).toMatchObject([
      { answer: { model_name: 'captioning' } },
      { answer: { statusCode: 500 } },
    ]);
  });

  test('shares its models with a handler that has options', async () => {
    const { outcomes, taken, log } = await run([sqsEvent({ first: request, second: '' }), request]);
    expect(outcomes.slice(1)).toMatchObject([
      { answer: { batchItemFailures: [] } },
      { answer: { model_version: '1' } },
    ]);
    expect([...taken].sort()).toEqual(['first', 'second']);
    expect(log.filter(({ msg }) => msg === 'ready')).toHaveLength(1);
  });

  test.each([{ BLIP_LAMBDA_AUTHORIZER: 'nobody' }, { BLIP_WORKERS: 'many' }])(
    'settings that are none end the environment: %j',
    async (variables) => {
      const { outcomes } = await run([], variables);
      expect(outcomes).toEqual([{ name: 'SETTINGS_INVALID', message: expect.stringContaining('Expected BLIP_') }]);
    },
  );

  test('stays alive with a checkpoint that does not exist, and each invocation reports it', async () => {
    const { outcomes, log } = await run([request, request], { BLIP_CHECKPOINT: '/nowhere' });
    expect(outcomes.slice(1)).toMatchObject([{ name: 'CHECKPOINT_NOT_FOUND' }, { name: 'CHECKPOINT_NOT_FOUND' }]);
    expect(log.filter(({ msg }) => msg === 'not loaded')).toHaveLength(3);
  });
});
