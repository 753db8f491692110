import type { MessageInitShape } from '@bufbuild/protobuf';
import type Handler from '../../../app.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import type { InferCall } from '../ask-model.ts';
import {
  type AnswerSchema,
  type ImagePrompt as PromptMessage,
  VisualQuestionAnswering,
} from '../generated/blip/v1/visual_question_answering_pb.js';
import { type MethodContext, pathOf } from '../methods.ts';
import { addModelStream, addModelUnary, type ModelServices } from '../model-methods.ts';
import { reported } from '../statuses.ts';
import {
  answerPrompts,
  type FailedPrompt,
  type ImagePrompt,
  isFailed,
  type PromptAnswer,
  readPrompt,
} from './answer-prompts.ts';

/** Our own service of prompts: an image and a text in one message, and its answer in another. */

type AnswerMessage = MessageInitShape<typeof AnswerSchema>;

const { method } = VisualQuestionAnswering;

/** Paths of the methods, which all ask a model. */
export const promptPaths: readonly string[] = [method.answer, method.answerBatch, method.answerStream].map(pathOf);

export function addVisualQuestionAnswering(context: MethodContext, services: ModelServices): void {
  const { models } = services;
  const answerOne = async (prompt: PromptMessage, call: InferCall) => {
    const [answer] = await answerMessages(models, [prompt], call);
    return answer ?? {};
  };
  addModelUnary(context, services, method.answer, answerOne);
  addModelUnary(context, services, method.answerBatch, async ({ prompts }, call) => ({
    answers: [...(await answerMessages(models, prompts, call))],
  }));
  addModelStream(context, services, method.answerStream, { ask: answerOne, failed: (error) => ({ error }) });
}

async function answerMessages(
  models: readonly Handler[],
  prompts: readonly PromptMessage[],
  call: InferCall,
): Promise<readonly AnswerMessage[]> {
  const answers = await answerPrompts(
    models,
    prompts.map((prompt) => readPrompt(() => readMessage(prompt))),
    call,
  );
  return answers.map((answer) => answerMessage(answer, call));
}

/** @throws HandlerError `INVALID_INPUT` for a prompt without an image. */
function readMessage({ image, prompt, model, parameters = {} }: PromptMessage): ImagePrompt {
  if (image.case === undefined || image.value.length === 0)
    throw new HandlerError('INVALID_INPUT', 'Expected url or bytes of an image, got neither.');
  return { image: image.value, prompt, model, parameters };
}

function answerMessage(answer: PromptAnswer | FailedPrompt, { log }: InferCall): AnswerMessage {
  if (!isFailed(answer)) return answer;
  const { code, message } = reported(answer.error, log);
  return { error: { code, message } };
}
