import { setTimeout as sleep } from 'node:timers/promises';
import type { NamedTensor } from '../../../protocol/named-tensor.ts';
import { rawBytes } from '../../support/grpc.ts';
import { multipart } from '../../support/multipart.ts';
import { send } from '../../support/server.ts';
import {
  answerOfModel,
  authorizationOf,
  type ContractRequest,
  type ContractServers,
  captionsIn,
  type DoorUnderContract,
  type Feature,
  inferBody,
  inferPath,
  modelOfServer,
} from './request.ts';

/** The doors of the HTTP server, each with a function that asks it as its clients do. The list is at the end. */

/** Posts to the HTTP server and returns the body of a success. An error is thrown with its code as the message. */
async function post(
  { captioning }: ContractServers,
  path: string,
  body: string | Uint8Array,
  request: ContractRequest,
  { headers = {}, url = captioning.url }: { readonly headers?: Record<string, string>; readonly url?: string } = {},
): Promise<string> {
  const answer = await send(url, {
    method: 'POST',
    path,
    body,
    headers: { ...authorizationOf(request), ...headers },
  });
  if (answer.status === 200) return answer.text;
  throw new Error(JSON.parse(answer.text).code);
}

/** One image is answered by a text, several by a list. */
const listOf = (value: string | readonly string[]): readonly string[] => (typeof value === 'string' ? [value] : value);

const modelName = ({ model = 'captioning' }: ContractRequest): string => model;

async function askInfer(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  return captionsIn(await post(servers, inferPath(request), JSON.stringify(inferBody(request)), request));
}

async function askBinaryInfer(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const section = rawBytes(request.images);
  const input = {
    name: 'img_url',
    datatype: 'BYTES',
    shape: [request.size ?? request.images.length],
    parameters: { binary_data_size: section.length },
  };
  const json = Buffer.from(JSON.stringify({ inputs: [input], parameters: request.parameters }));
  const headers = { 'inference-header-content-length': String(json.length) };
  return captionsIn(await post(servers, inferPath(request), Buffer.concat([json, section]), request, { headers }));
}

const generateBody = ({ images, parameters }: ContractRequest): string =>
  JSON.stringify({ img_url: images, parameters });

async function askGenerate(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const answer = await post(servers, `/v2/models/${modelName(request)}/generate`, generateBody(request), request);
  return listOf(JSON.parse(answer).generated_output);
}

async function askGenerateStream(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const path = `/v2/models/${modelName(request)}/generate_stream`;
  const event = await post(servers, path, generateBody(request), request);
  return listOf(JSON.parse(event.replace(/^data: /, '')).generated_output);
}

async function askBentoml(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const fields = Object.entries(request.parameters ?? {}).map(([name, value]) => ({ name, value: String(value) }));
  const { body, contentType } = multipart([{ name: 'img', value: request.images[0] ?? '' }, ...fields]);
  return [await post(servers, '/generate', body, request, { headers: { 'content-type': contentType } })];
}

async function askBentomlInJson(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const body = JSON.stringify({ img: request.images[0], ...request.parameters });
  return [await post(servers, '/generate', body, request)];
}

async function askHuggingFaceInBytes(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const query = new URLSearchParams(
    Object.entries(request.parameters ?? {}).map(([name, value]): [string, string] => [name, String(value)]),
  );
  const file = Buffer.from(request.images[0]?.split(',')[1] ?? '', 'base64');
  const answer = await post(servers, `/?${query}`, file, request, { headers: { 'content-type': 'image/png' } });
  return [JSON.parse(answer).generated_text];
}

async function askHuggingFace(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const body = JSON.stringify({ inputs: request.images[0], parameters: request.parameters });
  return [JSON.parse(await post(servers, '/predict', body, request)).generated_text];
}

async function askKserveV1(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  return await predict(servers, `/v1/models/${modelName(request)}:predict`, request);
}

async function askVertex(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  return await predict(servers, '/vertex/predict', request);
}

/** Sends one instance for each image. */
async function predict(servers: ContractServers, path: string, request: ContractRequest): Promise<readonly string[]> {
  const instances = request.images.map((image) => ({ img_url: image, ...request.parameters }));
  const { predictions } = JSON.parse(await post(servers, path, JSON.stringify({ instances }), request));
  return predictions.map(({ generated_output = '' }: { generated_output?: string }) => generated_output);
}

type Captions = string | readonly string[];

/** Beside errors of single images, captions have a name. */
type CogOutput = Captions | { readonly generated_output: Captions };

async function askCog(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const input = { img_url: request.images, ...request.parameters };
  const prediction = JSON.parse(await post(servers, '/predictions', JSON.stringify({ input }), request));
  const output: CogOutput = outputOfJob(prediction);
  return listOf(typeof output === 'object' && 'generated_output' in output ? output.generated_output : output);
}

interface Job<Output> {
  readonly error?: string | null;
  readonly output: Output;
}

/** A failed job is answered with status 200, and its error begins with the code. */
function outputOfJob<Output>({ error, output }: Job<Output>): Output {
  if (error) throw new Error(error.split(':')[0]);
  return output;
}

interface RunpodJob extends Job<{ readonly generated_output: Captions }> {
  readonly id: string;
  readonly status: string;
}

/** @param operation `run` answers at once and the job is polled; `runsync` answers when it has ended. */
async function askRunpod(
  operation: 'run' | 'runsync',
  servers: ContractServers,
  request: ContractRequest,
): Promise<readonly string[]> {
  const input = { img_url: request.images, ...request.parameters };
  const prefix = request.model === undefined ? '' : `/v2/${request.model}`;
  const job = JSON.parse(await post(servers, `${prefix}/${operation}`, JSON.stringify({ input }), request));
  return listOf(outputOfJob(await endOfJob(servers, prefix, job, request)).generated_output);
}

async function endOfJob(
  servers: ContractServers,
  prefix: string,
  job: RunpodJob,
  request: ContractRequest,
): Promise<RunpodJob> {
  if (job.status !== 'IN_QUEUE' && job.status !== 'IN_PROGRESS') return job;
  await sleep(5);
  const path = `${prefix}/status/${job.id}`;
  const { text } = await send(servers.captioning.url, { path, headers: authorizationOf(request) });
  return await endOfJob(servers, prefix, JSON.parse(text), request);
}

const clipText = 'a cat';
const rowsAsTexts = (matrix: readonly (readonly number[])[]): readonly string[] => matrix.map((row) => row.join());

async function askClipEncode(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const items = JSON.stringify(request.images.map((image) => ({ img_uri: image })));
  return rowsAsTexts(JSON.parse(await post(servers, '/encode', items, request, { url: servers.clip.url })));
}

async function askClipRank(servers: ContractServers, request: ContractRequest): Promise<readonly string[]> {
  const queries = request.images.map((image) => ({ img_uri: image }));
  const body = JSON.stringify({ queries, candidates: [{ text: clipText }] });
  const answer = await post(servers, '/rank', body, request, { url: servers.clip.url });
  return rowsAsTexts(JSON.parse(answer).cosine_similarities);
}

async function embeddingsOfModel({ clip }: ContractServers, images: readonly string[]): Promise<readonly string[]> {
  return rowsOf(await answerOfModel(clip.model, images), 'image_embeds');
}

async function cosinesOfModel({ clip }: ContractServers, images: readonly string[]): Promise<readonly string[]> {
  return rowsOf(await answerOfModel(clip.model, images, { text: [clipText] }), 'cosine_similarity');
}

/** The rows of an output, each as one text. */
function rowsOf(outputs: readonly NamedTensor[], name: string): readonly string[] {
  const { shape: [count = 0, length = 0] = [], data = [] } = outputs.find((output) => output.name === name) ?? {};
  return Array.from({ length: count }, (_, row) => data.slice(row * length, (row + 1) * length).join());
}

const oneImage: readonly Feature[] = ['several', 'partial', 'shapes', 'model'];

const captioningDoors: readonly Omit<DoorUnderContract, 'model'>[] = [
  { name: 'infer', lacks: [], ask: askInfer },
  { name: 'infer with binary tensors', lacks: [], ask: askBinaryInfer },
  { name: 'generate', lacks: ['shapes'], ask: askGenerate },
  { name: 'generate_stream', lacks: ['shapes'], ask: askGenerateStream },
  { name: 'BentoML', lacks: oneImage, ask: askBentoml },
  { name: 'BentoML in JSON', lacks: oneImage, ask: askBentomlInJson },
  { name: 'Hugging Face in bytes', lacks: [...oneImage, 'sources'], ask: askHuggingFaceInBytes },
  { name: 'Hugging Face', lacks: oneImage, ask: askHuggingFace },
  { name: "KServe's first protocol", lacks: ['shapes'], ask: askKserveV1 },
  { name: 'Vertex AI', lacks: ['shapes', 'model'], ask: askVertex },
  { name: 'Cog', lacks: ['shapes', 'model'], ask: askCog },
  { name: 'RunPod', lacks: ['shapes'], ask: askRunpod.bind(undefined, 'runsync') },
  { name: 'RunPod, asked for later', lacks: ['shapes'], ask: askRunpod.bind(undefined, 'run') },
];

const vectors: readonly Feature[] = ['partial', 'parameters', 'shapes', 'model'];

const clipDoors: readonly Omit<DoorUnderContract, 'model'>[] = [
  { name: "CLIP-API-service's encode", lacks: vectors, ask: askClipEncode, expected: embeddingsOfModel },
  { name: "CLIP-API-service's rank", lacks: vectors, ask: askClipRank, expected: cosinesOfModel },
];

/** A new door of the HTTP server is a line in one of the two lists above. */
export const httpDoors: readonly DoorUnderContract[] = [
  ...captioningDoors.map((door) => ({ ...door, model: modelOfServer })),
  ...clipDoors.map((door) => ({ ...door, model: ({ clip }: ContractServers) => clip.model })),
];
