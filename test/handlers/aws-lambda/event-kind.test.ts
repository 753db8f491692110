import { describe, expect, test } from 'vitest';
import { eventKind } from '../../../handlers/aws-lambda/event-kind.ts';
import {
  functionUrlEvent,
  httpApiEvent,
  httpApiVersion1Event,
  loadBalancerEvent,
  loadBalancerMultiValueEvent,
  restApiEvent,
  sqsEvent,
  sqsRecord,
} from '../../support/lambda-events.ts';

const fifoRecord = sqsRecord('first', '{}', { MessageGroupId: 'a' });

describe('eventKind', () => {
  test.each([
    ['a REST API', restApiEvent(), 'api-gateway-v1'],
    ['an HTTP API with the old format', httpApiVersion1Event(), 'api-gateway-v1'],
    ['an HTTP API', httpApiEvent(), 'api-gateway-v2'],
    ['a Function URL', functionUrlEvent(), 'api-gateway-v2'],
    ['a load balancer', loadBalancerEvent(), 'alb'],
    ['a load balancer with multi-value headers', loadBalancerMultiValueEvent(), 'alb'],
    ['a queue', sqsEvent({ first: '{}' }), 'sqs'],
    ['a FIFO queue', { Records: [fifoRecord] }, 'sqs'],
    ['a request body', { inputs: [{ name: 'img_url' }] }, 'direct'],
    ['inputs alone', { img_url: 'https://example.com/cat.jpg' }, 'direct'],
  ])('%s', (_name, event, kind) => {
    expect(eventKind(event)).toBe(kind);
  });

  test.each([
    ['nothing', undefined],
    ['null', null],
    ['text', 'httpMethod'],
    ['a list', [sqsRecord('first', '{}')]],
    ['no records', { Records: [] }],
    ['records of S3', { Records: [{ eventSource: 'aws:s3', messageId: 'first', body: '{}' }] }],
    ['records of which one is none', { Records: [sqsRecord('first', '{}'), null] }],
    ['a message of a FIFO queue without its group', { Records: [{ ...fifoRecord, attributes: undefined }] }],
    ['a message of a FIFO queue with a group that is none', { Records: [{ ...fifoRecord, attributes: {} }] }],
    ['a message of a WebSocket', { requestContext: { connectionId: 'x', routeKey: '$default' }, body: '{}' }],
    ['a request without a path', { ...restApiEvent(), path: undefined }],
    ['a request of an HTTP API without its method', { ...httpApiEvent(), requestContext: {} }],
    ['a context that is none', { httpMethod: 'GET', path: '/v2', requestContext: null }],
  ])('%s is no event that is known', (_name, event) => {
    expect(eventKind(event)).toBe('direct');
  });
});
