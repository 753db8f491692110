/**
 * The kinds of events. Function URLs send the payload format 2.0 of API Gateway's HTTP APIs. Anything that is not one of
 * the first four kinds is a request body that somebody passed to Invoke.
 */
export type EventKind = 'api-gateway-v1' | 'api-gateway-v2' | 'alb' | 'sqs' | 'direct';

/**
 * Tells the kind of an event by the fields that only this kind has. AWS writes all of them: a client over HTTP controls
 * path, headers and body, which are not read here.
 * Sources: AWS documentation, "Input format of a Lambda function for proxy integration", "Create AWS Lambda proxy
 * integrations for HTTP APIs", "Invoking Lambda function URLs", "Use Lambda functions as targets of an Application Load
 * Balancer", "Using Lambda with Amazon SQS".
 */
export function eventKind(event: unknown): EventKind {
  if (!isObject(event)) return 'direct';
  const { Records: records, requestContext, httpMethod, path, rawPath } = event;
  if (Array.isArray(records) && records.length > 0 && records.every(isMessage)) return 'sqs';
  if (!isObject(requestContext)) return 'direct';
  if (isObject(requestContext['http']) && typeof rawPath === 'string') return 'api-gateway-v2';
  if (typeof httpMethod !== 'string' || typeof path !== 'string') return 'direct';
  return isObject(requestContext['elb']) ? 'alb' : 'api-gateway-v1';
}

function isMessage(record: unknown): boolean {
  if (!isObject(record)) return false;
  const { eventSource, eventSourceARN: queue, messageId, body, attributes } = record;
  if (eventSource !== 'aws:sqs' || typeof queue !== 'string') return false;
  if (typeof messageId !== 'string' || typeof body !== 'string') return false;
  return !queue.endsWith('.fifo') || (isObject(attributes) && typeof attributes['MessageGroupId'] === 'string');
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
