import type { TaskSchema } from '../../protocol/schema.ts';

/** A task with one input of each kind, small enough to read. */
export const smallSchema: TaskSchema = {
  inputs: {
    image: {
      datatype: 'STRING',
      required: true,
      shape: [-1],
      example: ['a.png'],
      acceptsBytes: true,
      description: 'Images.',
    },
    count: { datatype: 'INT64', required: false, shape: [1], example: [1], minimum: 1, description: 'A number.' },
    scale: { datatype: 'FP32', required: false, shape: [1], example: [0.5], description: 'A factor.' },
    sure: { datatype: 'BOOL', required: false, shape: [1], example: [true], description: 'A choice.' },
    early: {
      datatype: 'STRING',
      required: false,
      shape: [1],
      example: ['never'],
      allowed: [true, false, 'never'],
      description: 'A choice that is a boolean or a text.',
    },
  },
  outputs: {
    caption: { datatype: 'BYTES', shape: [-1], onRequest: false, description: 'Captions.' },
    score: { datatype: 'FP32', shape: [-1, 2], onRequest: true, description: 'Scores.' },
  },
};
