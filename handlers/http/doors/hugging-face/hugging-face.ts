import type { FastifyReply } from 'fastify';
import type Handler from '../../../../app.ts';
import type { Task } from '../../../../checkpoint/config/architectures.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { areReady } from '../../../service/readiness.ts';
import type { Door } from '../../exchange/door.ts';
import { askModel, type InferenceCall } from '../../exchange/inference-call.ts';
import { sendJson, sendText } from '../../exchange/reply.ts';
import { firstModel, modelOfServedTask } from '../../exchange/requested-model.ts';
import { probe } from '../../exchange/route-table.ts';
import { type PipelineRequest, readPipelineRequest } from './pipeline-request.ts';

/**
 * Hugging Face's Inference Endpoints, for their clients: `POST /` and `POST /predict` take an image and answer as the
 * pipeline of the model's task does. An endpoint has one model and no name for it, so that the request tells the task: a
 * question, labels, or neither.
 * Source: huggingface/huggingface-inference-toolkit, src/huggingface_inference_toolkit/webservice_starlette.py.
 */
export const huggingFace: Door = {
  name: 'Hugging Face',
  paths: ['POST /', '/predict', '/health'],
  add({ routes, guard, models, drain }) {
    const pipeline = guard(
      () => firstModel(models),
      (call) => answerPipeline(call, models),
      { readsQuery: true },
    );
    routes.add('/', 'POST', pipeline);
    routes.add('/predict', 'POST', pipeline);
    const health = probe((_request, reply) => {
      if (areReady(models, drain)) return sendText(reply, 'Ok');
      throw new HandlerError(
        'NOT_READY',
        'Expected all models to be ready, got one that loads, hangs or is about to stop.',
      );
    });
    routes.add('/health', 'GET', health);
  },
};

/** The most characters of all labels in their templates: more than any model reads. */
const MAX_LABEL_CHARACTERS = 10_000_000;

type Pipeline = (call: InferenceCall, request: PipelineRequest) => Promise<object>;

const pipelines = {
  captioning: caption,
  'question-answering': answerQuestion,
  'image-text-to-text': (call, request) =>
    request.question === undefined ? caption(call, request) : answerQuestion(call, request),
  retrieval: (call, request) => classify(call, request, 'match_probability'),
  clip: (call, request) => classify(call, request, 'probability'),
} as const satisfies Record<string, Pipeline>;

/** The tasks that an image alone asks for. */
const captioners: readonly Task[] = ['captioning', 'image-text-to-text'];

/** transformers' default for zero-shot image classification. */
const DEFAULT_TEMPLATE = 'This is a photo of {}.';

async function answerPipeline(call: InferenceCall, models: readonly Handler[]): Promise<FastifyReply> {
  const fields = Object.assign({}, ...models.map(({ model }) => model?.schema.inputs));
  const pipelineRequest = readPipelineRequest(call.request, fields);
  const model = modelFor(pipelineRequest, models, call.model);
  const pipeline: Pipeline = pipelines[model.model?.checkpoint.task ?? 'captioning']; // The model is loaded.
  if (pipelineRequest.image === undefined)
    throw new HandlerError('INVALID_INPUT', 'Expected an image as inputs or as inputs.image, got none.');
  return sendJson(call.reply, await pipeline({ ...call, model }, pipelineRequest));
}

/**
 * The model that a request is for. A text may be a prompt or a question: the first model decides.
 * @throws HandlerError `INVALID_INPUT` when no model has the task.
 */
function modelFor({ question, text, labels }: PipelineRequest, models: readonly Handler[], first: Handler): Handler {
  if (labels !== undefined) return modelOfServedTask(models, ['clip', 'retrieval'], 'candidate_labels');
  if (question !== undefined)
    return modelOfServedTask(models, ['question-answering', 'image-text-to-text'], 'a question');
  if (text !== undefined)
    return modelOfServedTask(models, ['captioning', 'question-answering', 'image-text-to-text'], 'a text');
  // An image alone asks for a caption. Where no model captions, the first one says what it lacks.
  return models.find(({ model }) => captioners.includes(model?.checkpoint.task ?? 'clip')) ?? first;
}

/** huggingface_hub, the client for Python, names itself so. */
const PYTHON_CLIENT = /\bhf_hub\//;

/**
 * Captions in a form that each client can read. The client for Python wants a list. Old clients for JavaScript read the
 * first element of the answer; new ones read `generated_text` of the answer and refuse lists. An object that has its
 * captions by number, and the text of the first one, serves both.
 */
async function caption(call: InferenceCall, { image, text, parameters }: PipelineRequest): Promise<object> {
  const inputs = { img_url: image, text, ...parameters };
  const { outputs } = await askModel(call, { inputs, outputs: ['generated_output'] });
  const captions = (outputs[0]?.data ?? []).map((generatedText) => ({ generated_text: generatedText }));
  return PYTHON_CLIENT.test(call.request.headers['user-agent'] ?? '') ? captions : { ...captions, ...captions[0] };
}

/** Answers with their scores; a score is the probability of generating the whole answer. */
async function answerQuestion(
  call: InferenceCall,
  { image, question, text, parameters }: PipelineRequest,
): Promise<object> {
  const inputs = { img_url: image, question: question ?? text, ...parameters };
  const { outputs } = await askModel(call, { inputs, outputs: ['answer', 'sequence_logprob'] });
  const [answers, logprobs] = outputs.map(({ data }) => data);
  return (answers ?? []).map((answer, index) => ({ answer, score: Math.exp(Number(logprobs?.[index])) }));
}

/** Zero-shot image classification: compares the image with every label in its template, the most likely label first. */
async function classify(
  call: InferenceCall,
  { image, labels = [], template = DEFAULT_TEMPLATE, parameters }: PipelineRequest,
  output: 'probability' | 'match_probability',
): Promise<object> {
  if (labels.length === 0)
    throw new HandlerError('INVALID_INPUT', 'Expected candidate_labels in the parameters, got none.');
  if (!template.includes('{}'))
    throw new HandlerError('INVALID_INPUT', 'Expected {} in hypothesis_template, where a label goes, got none.');
  if ('queries' in parameters || 'candidates' in parameters)
    throw new HandlerError('INVALID_INPUT', 'Expected candidate_labels without queries or candidates, got both.');
  requireShortTexts(labels, template);
  const texts = labels.map((label) => template.replaceAll('{}', () => label));
  const inputs = { ...parameters, img_url: image, text: texts };
  const { outputs } = await askModel(call, { inputs, outputs: [output] });
  const scores = labels.map((label, index) => ({ label, score: Number(outputs[0]?.data[index]) }));
  return scores.toSorted((one, other) => other.score - one.score);
}

/** @throws HandlerError `INVALID_INPUT` where the template would make too much of the labels. */
function requireShortTexts(labels: readonly string[], template: string): void {
  const places = template.split('{}').length - 1;
  const characters = labels.reduce((sum, { length }) => sum + template.length + places * length, 0);
  if (characters <= MAX_LABEL_CHARACTERS) return;
  throw new HandlerError(
    'INVALID_INPUT',
    `Expected candidate_labels in hypothesis_template to have at most ${MAX_LABEL_CHARACTERS} characters, got more.`,
  );
}
