import { createHandlers } from '../../../handlers/aws-lambda/handlers.ts';
import type { MessageResult } from '../../../handlers/aws-lambda/sqs.ts';
import { type ErrorCode, errorCodes } from '../../../protocol/errors.ts';
import { httpResultOf } from '../../support/lambda.ts';
import { type EventRequest, lambdaContext, sqsEvent } from '../../support/lambda-events.ts';
import {
  authorizationOf,
  type ContractRequest,
  type ContractServers,
  captionsIn,
  inferBody,
  inferPath,
  namedInferBody,
} from './request.ts';

/** How the function of AWS Lambda is asked, by each kind of event. */

/** @param eventOf makes the event of one HTTP integration. */
export async function askByHttpEvent(
  eventOf: (request: EventRequest) => unknown,
  { lambda }: ContractServers,
  request: ContractRequest,
): Promise<readonly string[]> {
  const headers = authorizationOf(request);
  const event = eventOf({ path: inferPath(request), method: 'POST', headers, body: inferBody(request) });
  const { statusCode, body } = httpResultOf(await lambda.invoke(event));
  if (statusCode !== 200) throw new Error(JSON.parse(body).code);
  return captionsIn(body);
}

export async function askDirectly({ lambda }: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const answer = await lambda.invoke(namedInferBody(request)).catch((failure: Error) => {
    throw new Error(failure.name); // Lambda reports the name as errorType: our code.
  });
  return captionsIn(JSON.stringify(answer));
}

export async function askByQueue({ lambda }: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const results: MessageResult[] = [];
  const { handler } = createHandlers(lambda.environment, { onResult: (result) => void results.push(result) });
  const report = await handler(sqsEvent({ first: namedInferBody(request) }), lambdaContext());
  const [result] = results;
  if (result === undefined) throw new Error(JSON.stringify(report));
  if ('error' in result) throw new Error(result.error.code);
  return (result.response.outputs[0]?.data ?? []).map(String);
}

/** A message that may succeed later goes back to the queue; its failure has no result. */
export function seenByQueue(code: ErrorCode): string {
  return errorCodes[code].retryable ? '{"batchItemFailures":[{"itemIdentifier":"first"}]}' : code;
}
