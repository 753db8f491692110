import { expect } from 'vitest';
import { createEnvironment, type LambdaEnvironment } from '../../handlers/aws-lambda/environment.ts';
import type { HandlerOptions } from '../../handlers/aws-lambda/handler-options.ts';
import { createHandlers } from '../../handlers/aws-lambda/handlers.ts';
import type { InferenceResponse } from '../../protocol/inference-response.ts';
import { lambdaContext } from './lambda-events.ts';
import { modelSettingsOf, serverTestSettings, type TestSettings } from './server.ts';

/** The real handler around real models, without the runtime of Lambda. */

export interface TestFunction {
  readonly environment: LambdaEnvironment;
  readonly streamHandler: ReturnType<typeof createHandlers>['streamHandler'];
  /** Invokes the function with an event that went through JSON, and returns an answer that went through JSON. */
  invoke(event: unknown, remainingMs?: number): Promise<unknown>;
  close(): Promise<void>;
}

export function startFunction(changes: Partial<TestSettings> = {}, options: HandlerOptions = {}): TestFunction {
  const settings = serverTestSettings({ lambdaAuthorizer: 'platform', ...changes });
  const environment = createEnvironment(modelSettingsOf(settings), settings);
  const { handler, streamHandler } = createHandlers(environment, options);
  return {
    environment,
    streamHandler,
    async invoke(event, remainingMs) {
      const answer = await handler(JSON.parse(JSON.stringify(event)), lambdaContext(remainingMs));
      return JSON.parse(JSON.stringify(answer));
    },
    close: () => environment.close(),
  };
}

export interface HttpResult {
  readonly statusCode: number;
  readonly statusDescription?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly multiValueHeaders?: Readonly<Record<string, readonly string[]>>;
  readonly body: string;
  readonly isBase64Encoded: boolean;
}

/** An answer to an event of one of the HTTP kinds, in the form that AWS takes. */
export function httpResultOf(answer: unknown): HttpResult {
  expect(answer).toMatchObject({
    statusCode: expect.any(Number),
    body: expect.any(String),
    isBase64Encoded: expect.any(Boolean),
  });
  return answer as HttpResult; // The line above.
}

/** An answer to an inference request. */
export function responseOf(answer: unknown): InferenceResponse {
  expect(answer).toMatchObject({ model_name: expect.any(String), model_version: '1', outputs: expect.any(Array) });
  return answer as InferenceResponse; // The line above.
}

/** The failure of an invocation, as Lambda reports it. */
export async function failureOf(answer: Promise<unknown>): Promise<{ errorType: string; errorMessage: string }> {
  const error = await answer.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(Error);
  const { name, message } = error as Error; // The line above.
  return { errorType: name, errorMessage: message };
}
