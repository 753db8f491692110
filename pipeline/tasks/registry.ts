import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { Task } from '../../checkpoint/config/architectures.ts';
import { blip2RetrievalSchema, schemas } from '../../input_schema.ts';
import type { InputsOf, TaskSchema } from '../../protocol/schema.ts';
import { compileInputs } from '../../protocol/validation.ts';
import type { CheckpointOf, KindsOf } from '../sessions/work.ts';
import type { WorkerPool } from '../workers/worker-pool.ts';
import { captioningTask } from './captioning-task.ts';
import { clipTask } from './clip-task.ts';
import { imageTextToTextTask } from './image-text-to-text-task.ts';
import { underOwnNames } from './other-names.ts';
import { questionAnsweringTask } from './question-answering-task.ts';
import { retrievalTask } from './retrieval-task.ts';
import type { ReadRequest, TaskContext } from './task.ts';

/**
 * The main thread's half of the task registry: one row for each task. The worker thread's half has a row for each task
 * too (sessions/load-session.ts), so that the main thread loads no runtime. sessions/work.ts ties the two together: it
 * says which checkpoint a task has, and which kinds of batches go from one half to the other.
 */

/** A task as a row defines it. The compiler holds the function to the schema, the checkpoint and the batches. */
interface TaskRow<Name extends Task> {
  readonly schema: (typeof schemas)[Name];
  readonly start: (
    checkpoint: CheckpointOf<Name>,
    pool: WorkerPool<KindsOf<Name>>,
    context: TaskContext,
  ) => ReadRequest<InputsOf<(typeof schemas)[Name]['inputs']>>;
}

/** A task as a running model uses it: inputs of any type are checked first. */
interface TaskDefinition<Name extends Task> {
  readonly schema: TaskSchema;
  /** Compiles the check of the inputs ahead of the first request. */
  readonly prepare: () => void;
  readonly start: (
    checkpoint: CheckpointOf<Name>,
    pool: WorkerPool<KindsOf<Name>>,
    context: TaskContext,
  ) => ReadRequest<unknown>;
}

/** Which tasks take an input, for the message to a request that asks a model of another task. */
function takers(name: string): string | undefined {
  const tasks = Object.entries(schemas).filter(([, { inputs }]) => Object.hasOwn(inputs, name));
  return tasks.length === 0 ? undefined : `which models for ${tasks.map(([task]) => task).join(' or ')} take`;
}

function define<Name extends Task>({ schema, start }: TaskRow<Name>): TaskDefinition<Name> {
  const check = compileInputs<(typeof schemas)[Name]['inputs']>(schema.inputs, takers);
  return {
    schema,
    prepare: check.prepare,
    start(...running) {
      const read = start(...running);
      return (inputs, outputs) => read(check(underOwnNames(inputs, schema.inputs)), outputs);
    },
  };
}

export const registry: { readonly [Name in Task]: TaskDefinition<Name> } = {
  captioning: define<'captioning'>({ schema: schemas.captioning, start: captioningTask }),
  'question-answering': define<'question-answering'>({
    schema: schemas['question-answering'],
    start: questionAnsweringTask,
  }),
  'image-text-to-text': define<'image-text-to-text'>({
    schema: schemas['image-text-to-text'],
    start: imageTextToTextTask,
  }),
  retrieval: define<'retrieval'>({ schema: schemas.retrieval, start: retrievalTask }),
  clip: define<'clip'>({ schema: schemas.clip, start: clipTask }),
};

/** The inputs and outputs of a checkpoint: those of its task, with a shape that depends on its family. */
export function schemaOf({ task, config }: Pick<Checkpoint, 'task' | 'config'>): TaskSchema {
  return task === 'retrieval' && 'qFormer' in config ? blip2RetrievalSchema : registry[task].schema;
}
