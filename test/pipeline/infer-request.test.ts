import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import Handler from '../../app.ts';
import { joinEvents, type RequestEvents } from '../../pipeline/infer-request.ts';
import { HandlerError } from '../../protocol/errors.ts';
import { dataUri, testSettings } from '../support/server.ts';

const failure = new HandlerError('OVERLOADED', 'Expected room, got none.');

describe('listeners of one request', () => {
  test('are all told of everything', () => {
    const told: string[] = [];
    const listener = (name: string): RequestEvents => ({
      accepted: () => told.push(`${name} accepted`),
      computing: () => told.push(`${name} computing`),
      stage: ({ name: stage }) => told.push(`${name} ${stage}`),
      done: (outcome, durationMs) => told.push(`${name} ${outcome === failure} ${durationMs}`),
    });
    const events = joinEvents([listener('first'), undefined, listener('second')]);
    events.accepted?.();
    events.computing?.();
    events.stage?.({ name: 'decode', startMs: 1, endMs: 2 });
    events.done?.(failure, 3);
    expect(told).toEqual([
      ...['first accepted', 'second accepted', 'first computing', 'second computing'],
      ...['first decode', 'second decode', 'first true 3', 'second true 3'],
    ]);
  });

  test('take no times where none of them listens to stages', () => {
    expect(joinEvents([{ accepted: () => undefined }, undefined]).stage).toBeUndefined();
  });

  test('that throw are reported, and the request is answered as ever', async () => {
    const handler = new Handler(testSettings());
    await handler.initialize();
    const outcomes: unknown[] = [];
    const broken = (name: string) => () => {
      throw new Error(`The listener ${name} is broken.`);
    };
    handler.observe({ batchDone: broken('batchDone'), done: (outcome) => outcomes.push(outcome) });
    const warnings: string[] = [];
    const collect = (warning: Error) => warnings.push(warning.message);
    process.on('warning', collect);
    const events = {
      ...{ accepted: broken('accepted'), computing: broken('computing') },
      ...{ stage: broken('stage'), done: broken('done') },
    };
    const answer = await handler.inferTensors({ inputs: { img_url: dataUri('small') }, events });
    expect(answer.outputs[0]?.data).toHaveLength(1);
    expect(outcomes).toEqual([answer]);
    await handler.finalize();
    while (!warnings.includes('The listener done is broken.')) await once(process, 'warning');
    process.off('warning', collect);
    for (const name of ['accepted', 'computing', 'stage', 'done', 'batchDone'])
      expect(warnings).toContain(`The listener ${name} is broken.`);
  });
});
