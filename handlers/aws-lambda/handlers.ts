import type { ALBEvent, APIGatewayProxyEvent, APIGatewayProxyEventV2, Context, SQSEvent } from 'aws-lambda';
import { errorAnswer } from '../../protocol/error-answer.ts';
import { HandlerError, toHandlerError } from '../../protocol/errors.ts';
import type { InferenceResponse } from '../../protocol/inference-response.ts';
import { logInternal } from '../service/log-internal.ts';
import { answerBody } from './answer-body.ts';
import { answerHttp } from './answer-http.ts';
import { answerMessages } from './answer-messages.ts';
import type { LambdaEnvironment } from './environment.ts';
import { eventKind } from './event-kind.ts';
import type { HandlerOptions, LambdaHandler } from './handler-options.ts';
import { type HttpEvent, httpResult } from './http-event.ts';
import { type Clock, inTime, loadedInTime } from './invocation-clock.ts';
import { invocationError } from './invocation-error.ts';
import { writeResult } from './sqs.ts';
import { streamify, writeHttp, writeJson } from './stream.ts';

/** Bytes of JSON that an invocation may answer with. Source: AWS documentation, "Lambda quotas". */
const INVOCATION_LIMIT = 6 * 1024 * 1024;
/** Bytes of JSON that a load balancer takes. Source: AWS documentation, "Use Lambda functions as targets". */
const LOAD_BALANCER_LIMIT = 1_000_000;

/** The handlers of one environment: one returns its answers, the other streams them. */
export function createHandlers(
  environment: LambdaEnvironment,
  { onResult = writeResult, basePath = '' }: HandlerOptions = {},
): { readonly handler: LambdaHandler; readonly streamHandler: ReturnType<typeof streamify> } {
  return {
    async handler(event, context) {
      keepThreads(context);
      const http = httpEvent(event);
      if (http !== undefined)
        return fitting(http, httpResult(http, await answerHttp(environment, http, context, basePath)));
      if (eventKind(event) === 'direct') return requireFitting(await answerDirect(environment, event, context));
      await requireLoaded(environment, context);
      return await answerMessages(environment, event as SQSEvent, context, onResult); // The only kind left.
    },
    streamHandler: streamify(async (event, stream, context) => {
      keepThreads(context);
      const http = httpEvent(event);
      if (http !== undefined) writeHttp(stream, await answerHttp(environment, http, context, basePath));
      else writeJson(stream, await answerDirect(environment, event, context));
    }),
  };
}

/** Keeps Lambda from waiting for the models' threads to end; in streaming mode it would wait for ever. */
function keepThreads(context: Context): void {
  context.callbackWaitsForEmptyEventLoop = false;
}

/** An HTTP event with its type; `undefined` for other events. */
function httpEvent(event: unknown): HttpEvent | undefined {
  const kind = eventKind(event); // It has checked what only that kind has; readHttpEvent checks the rest.
  switch (kind) {
    case 'api-gateway-v1':
      return { kind, event: event as APIGatewayProxyEvent };
    case 'api-gateway-v2':
      return { kind, event: event as APIGatewayProxyEventV2 };
    case 'alb':
      return { kind, event: event as ALBEvent };
    default:
      return undefined;
  }
}

/** Answers a direct invocation. It needs no token, because IAM decides who may invoke the function. */
async function answerDirect(environment: LambdaEnvironment, body: unknown, clock: Clock): Promise<InferenceResponse> {
  await requireLoaded(environment, clock);
  try {
    return await inTime(clock, (until) => answerBody(environment, body, until));
  } catch (thrown) {
    const error = toHandlerError(thrown);
    logInternal(error, environment.server.log);
    throw invocationError(error);
  }
}

/** @throws InvocationError with the code of the error that kept the models from loading. */
async function requireLoaded(environment: LambdaEnvironment, clock: Clock): Promise<void> {
  try {
    await loadedInTime(clock, environment.load());
  } catch (thrown) {
    throw invocationError(thrown);
  }
}

function fitting(http: HttpEvent, result: ReturnType<typeof httpResult>): ReturnType<typeof httpResult> {
  const error = sizeError(result, http.kind === 'alb' ? LOAD_BALANCER_LIMIT : INVOCATION_LIMIT);
  return error === undefined ? result : httpResult(http, errorAnswer(error));
}

function requireFitting(response: InferenceResponse): InferenceResponse {
  const error = sizeError(response, INVOCATION_LIMIT);
  if (error !== undefined) throw invocationError(error);
  return response;
}

/** The error of an answer beyond a limit of the platform. Lambda's own error says nothing: HTTP clients get a 502. */
function sizeError(value: unknown, limit: number): HandlerError | undefined {
  const bytes = Buffer.byteLength(JSON.stringify(value));
  if (bytes <= limit) return undefined;
  return new HandlerError(
    'PAYLOAD_TOO_LARGE',
    `Expected an answer of at most ${limit} bytes, the limit of the platform, got ${bytes}. Ask for fewer items or outputs.`,
  );
}
