import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type InferlessModel from '../../../../app.ts';
import { HandlerError } from '../../../../protocol/errors.ts';
import { areReady } from '../../../service/readiness.ts';
import type { Draining } from '../../drain.ts';
import { askModel } from '../../exchange/ask-model.ts';
import { sendJson, sendText } from '../../exchange/reply.ts';
import { firstModel } from '../../exchange/requested-model.ts';
import { addRoute, addRoutes, type MethodAnswer } from '../../exchange/route.ts';
import type { RouteGuard } from '../../exchange/route-guards.ts';
import { sendPage } from '../page-and-docs/page.ts';
import { type PipelineRequest, readPipelineRequest } from './pipeline-request.ts';

/**
 * The routes of Hugging Face's Inference Endpoints, for its clients: `POST /` and `POST /predict` take an image and
 * answer as the pipeline of the model's task does. Several models are several endpoints there; here the first answers.
 * Source: huggingface/huggingface-inference-toolkit, src/huggingface_inference_toolkit/webservice_starlette.py.
 */

type Pipeline = (reply: FastifyReply, model: InferlessModel, asked: PipelineRequest) => Promise<object>;

const pipelines = {
  captioning: caption,
  'question-answering': answerQuestion,
  retrieval: (reply, model, asked) => classify(reply, model, asked, 'match_probability'),
  clip: (reply, model, asked) => classify(reply, model, asked, 'probability'),
} as const satisfies Record<string, Pipeline>;

/** transformers' default for zero-shot image classification. */
const DEFAULT_TEMPLATE = 'This is a photo of {}.';

/** Adds `/` and `/predict`, which the first model answers, and `/health`. */
export function addHuggingFaceRoutes(
  server: FastifyInstance,
  guard: RouteGuard,
  models: readonly InferlessModel[],
  draining: Draining,
): void {
  const pipeline = guard(() => firstModel(models), answerPipeline);
  addRoutes(server, '/', { GET: alive, POST: pipeline });
  addRoutes(server, '/predict', { POST: pipeline });
  addRoute(server, 'GET', '/health', (_request, reply) => {
    if (areReady(models, draining)) return sendText(reply, 'Ok');
    throw new HandlerError('NOT_READY', 'Expected the models to be loaded, got a request before or after that.');
  });
}

/**
 * `GET /`: a page for browsers, which say that they want one; JSON for clients of KServe's first protocol, which must ask
 * for it; anyone else only wants an answer.
 */
const alive: MethodAnswer = {
  handler({ headers: { accept = '' } }, reply) {
    reply.header('vary', 'accept');
    if (/\btext\/html\b/i.test(accept)) return sendPage(reply);
    return /\bapplication\/json\b/i.test(accept) ? sendJson(reply, { status: 'alive' }) : sendText(reply, 'Ok');
  },
};

async function answerPipeline(
  request: FastifyRequest,
  reply: FastifyReply,
  model: InferlessModel,
): Promise<FastifyReply> {
  const pipeline: Pipeline = pipelines[model.model?.checkpoint.task ?? 'captioning']; // The guard saw it loaded.
  const asked = readPipelineRequest(request, model.schema.inputs);
  if (asked.image === undefined)
    throw new HandlerError('INVALID_INPUT', 'Expected an image as inputs, or as image in them, got none.');
  return sendJson(reply, await pipeline(reply, model, asked));
}

/** How huggingface_hub, the client for Python, names itself. */
const PYTHON_CLIENT = /\bhf_hub\//;

/**
 * Clients disagree. The one for Python wants a list. For JavaScript, old ones read the first element of the answer, and
 * new ones `generated_text` of the answer, refusing lists: an object that numbers its captions serves both.
 */
async function caption(reply: FastifyReply, model: InferlessModel, asked: PipelineRequest): Promise<object> {
  const inputs = { img_url: asked.image, text: asked.text, ...asked.parameters };
  const { outputs } = await askModel(reply, model, { inputs, outputs: ['generated_output'] });
  const captions = (outputs[0]?.data ?? []).map((text) => ({ generated_text: text }));
  return PYTHON_CLIENT.test(reply.request.headers['user-agent'] ?? '') ? captions : { ...captions, ...captions[0] };
}

/** `score` is how likely the whole answer was to be generated. */
async function answerQuestion(reply: FastifyReply, model: InferlessModel, asked: PipelineRequest): Promise<object> {
  const inputs = { img_url: asked.image, question: asked.text, ...asked.parameters };
  const { outputs } = await askModel(reply, model, { inputs, outputs: ['answer', 'sequence_logprob'] });
  const [answers, logprobs] = outputs.map(({ data }) => data);
  return (answers ?? []).map((answer, index) => ({ answer, score: Math.exp(Number(logprobs?.[index])) }));
}

/** Zero-shot image classification: every label in its template, the likeliest first. */
async function classify(
  reply: FastifyReply,
  model: InferlessModel,
  { image, labels = [], template = DEFAULT_TEMPLATE, parameters }: PipelineRequest,
  output: 'probability' | 'match_probability',
): Promise<object> {
  if (labels.length === 0)
    throw new HandlerError('INVALID_INPUT', 'Expected candidate_labels in the parameters, got none.');
  if (!template.includes('{}'))
    throw new HandlerError('INVALID_INPUT', 'Expected {} in hypothesis_template, where a label goes, got none.');
  if ('queries' in parameters || 'candidates' in parameters)
    throw new HandlerError(
      'INVALID_INPUT',
      'Expected candidate_labels alone to be compared, got queries or candidates.',
    );
  const texts = labels.map((label) => template.replaceAll('{}', () => label));
  const inputs = { ...parameters, img_url: image, text: texts };
  const { outputs } = await askModel(reply, model, { inputs, outputs: [output] });
  const scores = labels.map((label, index) => ({ label, score: Number(outputs[0]?.data[index]) }));
  return scores.toSorted((one, other) => other.score - one.score);
}
