import type Handler from '../../../app.ts';
import type { Task } from '../../../checkpoint/config/architectures.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { findModel } from '../../service/served-models.ts';

/** The meaning of a prompt for a task. */
interface PromptTask {
  /** The input that it is. */
  readonly input: 'text' | 'question';
  /** The output that answers it. */
  readonly output: 'generated_output' | 'answer';
  /** Whether nothing can be answered without one. */
  readonly isRequired?: true;
  /** Inputs where the request has none. */
  readonly defaults?: Readonly<Record<string, unknown>>;
}

/** BLIP-2 reads a prompt as it is sent. As a question it is answered without being repeated. */
const promptTasks: Readonly<Partial<Record<Task, PromptTask>>> = {
  captioning: { input: 'text', output: 'generated_output' },
  'question-answering': { input: 'question', output: 'answer', isRequired: true },
  'image-text-to-text': { input: 'question', output: 'answer', defaults: { preset: 'hf' } },
};

const taskNames = Object.keys(promptTasks).join(', ');

/** A model that answers prompts, and what a prompt is for it. */
export interface PromptModel extends PromptTask {
  readonly model: Handler;
}

/**
 * The model of that name; where the name is empty, the first one that answers prompts.
 * @throws HandlerError `NOT_FOUND`, `NOT_READY`; `INVALID_INPUT` when the named model has another task.
 */
export function promptModel(models: readonly Handler[], name: string): PromptModel {
  const model = name === '' ? firstPromptModel(models) : findModel(models, name);
  const { model: running, name: modelName } = model;
  const task = running === undefined ? undefined : promptTasks[running.checkpoint.task];
  if (task !== undefined) return { ...task, model };
  if (running === undefined) throw notReady();
  throw new HandlerError('INVALID_INPUT', `Expected a model for ${taskNames}, got ${modelName}, which is for another.`);
}

/** One that is not loaded yet may turn out to be one. */
function firstPromptModel(models: readonly Handler[]): Handler {
  const found = models.find(({ model }) => model === undefined || promptTasks[model.checkpoint.task] !== undefined);
  if (found !== undefined) return found;
  throw new HandlerError('NOT_FOUND', `Expected a model for ${taskNames}, got none.`);
}

function notReady(): HandlerError {
  return new HandlerError('NOT_READY', 'Expected the model to be loaded, got a request before or after that.');
}
