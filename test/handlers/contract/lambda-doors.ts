import { createHandlers } from '../../../handlers/aws-lambda/handlers.ts';
import type { MessageResult } from '../../../handlers/aws-lambda/sqs.ts';
import { type ErrorCode, errorCodes } from '../../../protocol/errors.ts';
import { httpResultOf } from '../../support/lambda.ts';
import {
  type EventRequest,
  functionUrlEvent,
  httpApiEvent,
  lambdaContext,
  loadBalancerEvent,
  restApiEvent,
  sqsEvent,
} from '../../support/lambda-events.ts';
import {
  authorizationOf,
  type ContractRequest,
  type ContractServers,
  captionsIn,
  type DoorUnderContract,
  inferBody,
  inferPath,
  modelOfLambda,
  namedInferBody,
} from './request.ts';

/** Each kind of event of AWS Lambda as a door, with a function that asks it. The list is at the end. */

/** @param eventOf makes the event of one HTTP integration. */
async function askByHttpEvent(
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

async function askDirectly({ lambda }: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const answer = await lambda.invoke(namedInferBody(request)).catch((failure: Error) => {
    throw new Error(failure.name); // Lambda reports the name as errorType: our code.
  });
  return captionsIn(JSON.stringify(answer));
}

async function askByQueue({ lambda }: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const results: MessageResult[] = [];
  const { handler } = createHandlers(lambda.environment, { onResult: (result) => void results.push(result) });
  const report = await handler(sqsEvent({ first: namedInferBody(request) }), lambdaContext());
  const [result] = results;
  if (result === undefined) throw new Error(JSON.stringify(report));
  if ('error' in result) throw new Error(result.error.code);
  return (result.response.outputs[0]?.data ?? []).map(String);
}

/** A message that may succeed later goes back to the queue; its failure has no result. */
function seenByQueue(code: ErrorCode): string {
  return errorCodes[code].retryable ? '{"batchItemFailures":[{"itemIdentifier":"first"}]}' : code;
}

const eventDoors: readonly Omit<DoorUnderContract, 'model'>[] = [
  { name: 'a Function URL of AWS Lambda', lacks: [], ask: askByHttpEvent.bind(undefined, functionUrlEvent) },
  { name: 'an HTTP API of AWS Lambda', lacks: [], ask: askByHttpEvent.bind(undefined, httpApiEvent) },
  { name: 'a REST API of AWS Lambda', lacks: [], ask: askByHttpEvent.bind(undefined, restApiEvent) },
  { name: 'a load balancer of AWS Lambda', lacks: [], ask: askByHttpEvent.bind(undefined, loadBalancerEvent) },
  { name: 'a direct invocation of AWS Lambda', lacks: ['token', 'limit'], ask: askDirectly },
  { name: 'a message of SQS', lacks: ['token', 'limit'], ask: askByQueue, seenAs: seenByQueue },
];

export const lambdaDoors: readonly DoorUnderContract[] = eventDoors.map((door) => ({ ...door, model: modelOfLambda }));
