import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { SQSBatchResponse } from 'aws-lambda';
import {
  type Bundle,
  buildBundle,
  programEnvironment,
  type ServerProcess,
  startServerProcess,
} from '../support/bundle.ts';
import { functionUrlEvent, restApiEvent } from '../support/lambda-events.ts';
import { startQueue } from '../support/queue.ts';
import { startRuntimeApi } from './runtime-api.ts';

/**
 * Runs the real clients of other platforms against the bundled server, and prints their output as Markdown
 * (docs/reference/clients.md).
 *
 *     test/clients/install.sh FOLDER && npx tsx test/clients/try.ts FOLDER > docs/reference/clients.md
 */

/** The documents whose curl examples must work. */
const documentsWithCurl = ['README.md', 'docs/tutorial/first-caption.md', 'docs/reference/platforms.md'];

const TOKEN = 'my-token';
const root = fileURLToPath(new URL('../..', import.meta.url));
const here = join(root, 'test/clients');
const picture = join(root, 'examples/two-cats.png');
const fixtures = 'test/fixtures/checkpoints';
const models = [
  'captioning=checkpoints/scenes-captioning',
  'question-answering=checkpoints/scenes-question-answering',
  `retrieval=${fixtures}/retrieval-wide-vision`,
  `clip=${fixtures}/clip-real-end`,
];
const run = promisify(execFile);

interface Service {
  readonly url: string;
  readonly grpcAddress: string;
  readonly caption: string;
}

/** Prints a section of the document. */
function describe(title: string, text: string): void {
  process.stdout.write(`\n## ${title}\n\n\`\`\`\n${text.trim()}\n\`\`\`\n`);
}

async function grpcPortOf(server: ServerProcess): Promise<number> {
  const line = server.log().find(({ msg }) => msg === 'gRPC listening');
  if (typeof line?.['port'] !== 'number') throw new Error('Expected the log to have the port of gRPC, got none.');
  return line['port'];
}

async function captionOf(url: string): Promise<string> {
  const form = new FormData();
  form.set('img', new Blob([readFileSync(picture)]), 'two-cats.png');
  const answer = await fetch(`${url}/generate`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}` },
    body: form,
  });
  if (!answer.ok) throw new Error(`Expected a caption, got ${answer.status} ${await answer.text()}`);
  return await answer.text();
}

async function runPython(folder: string, environment: string, program: string, service: Service): Promise<string> {
  const { stdout } = await run(join(folder, environment, 'bin/python'), ['-W', 'ignore', join(here, program)], {
    env: {
      ...programEnvironment(),
      BLIP_URL: service.url,
      BLIP_GRPC_ADDRESS: service.grpcAddress,
      BLIP_TOKEN: TOKEN,
      BLIP_CAPTION: service.caption,
      BLIP_PICTURE: picture,
    },
  });
  return stdout;
}

/** Runs the clients of examples/ as they say themselves, against a server that answers questions. */
async function runExamples(folder: string, bundle: Bundle): Promise<string> {
  const model = 'question-answering=checkpoints/scenes-question-answering';
  const variables = { BLIP_API_TOKENS: TOKEN, BLIP_GRPC_PORT: '0', BLIP_MODELS: model, HOST: '127.0.0.1' };
  const server = await startServerProcess(bundle, variables);
  try {
    return await runExamplesAt(folder, `127.0.0.1:${await grpcPortOf(server)}`);
  } finally {
    server.kill('SIGTERM');
    await server.exit;
  }
}

async function runExamplesAt(folder: string, grpcAddress: string): Promise<string> {
  const commands = ['npx tsx examples/ask-over-grpc.ts', 'python examples/ask_over_grpc.py'];
  const environment = { ...programEnvironment(), BLIP_GRPC_ADDRESS: grpcAddress };
  const path = `${join(folder, 'clients/bin')}:${process.env['PATH']}`;
  const transcript: string[] = [];
  for (const command of commands) {
    const { stdout } = await run('sh', ['-c', command], { cwd: root, env: { ...environment, PATH: path } });
    if (!/two.* \(0\.\d{3}\)\n$/.test(stdout)) throw new Error(`Expected ${command} to print an answer, got ${stdout}`);
    transcript.push(`${command}\n${stdout}`);
  }
  return transcript.join('\n');
}

/** Runs every curl of the documents against this server, with a picture of this machine for one of the network. */
async function runCurls({ url }: Service): Promise<string> {
  const images = http.createServer((_request, response) => response.end(readFileSync(picture)));
  await new Promise<void>((resolve) => images.listen(0, '127.0.0.1', resolve));
  const address = `http://127.0.0.1:${(images.address() as AddressInfo).port}/two-cats.png`; // It listens on a port.
  const transcript: string[] = [];
  for (const path of documentsWithCurl) {
    for (const [, block = ''] of readFileSync(join(root, path), 'utf8').matchAll(/```sh\n(curl [\s\S]+?)```/g)) {
      const command = block.trim().replace('http://127.0.0.1:8080', url);
      const { stdout } = await run('sh', ['-c', command.replace(/https:[^"]+demo\.jpg/, address)], { cwd: root });
      if (!stdout.includes('two cats')) throw new Error(`Expected ${command} to print a caption, got ${stdout}`);
      transcript.push(`${block.trim()}\n${stdout.trim()}`);
    }
  }
  images.close();
  images.closeAllConnections();
  return transcript.join('\n\n');
}

/**
 * Sends requests that schemathesis makes up from the description of the API. Its check that valid requests are accepted is
 * off, because a schema cannot say that an image must exist, or that a shape must fit its data.
 */
async function runSchemathesis(folder: string, { url }: Service): Promise<string> {
  const { stdout } = await run(
    join(folder, 'clients/bin/schemathesis'),
    [
      'run',
      `${url}/openapi.json`,
      '--header',
      `Authorization: Bearer ${TOKEN}`,
      '--exclude-checks',
      'positive_data_acceptance',
      '--max-examples',
      '100',
      '--seed',
      '1',
      '--no-color',
    ],
    { maxBuffer: 1e9, cwd: tmpdir() },
  );
  return stdout.slice(stdout.indexOf('= SUMMARY')).split('\n').slice(1).join('\n');
}

/** Runs dist/aws-lambda.handler under Lambda's runtime client: HTTP events, direct invocations, a queue. */
async function runLambda(folder: string, bundle: Bundle, { caption }: Service): Promise<string> {
  const api = await startRuntimeApi();
  const image = `data:image/png;base64,${readFileSync(picture).toString('base64')}`;
  const child = spawn(
    process.execPath,
    [join(folder, 'lambda/node_modules/aws-lambda-ric/bin/index.mjs'), 'dist/aws-lambda.handler'],
    {
      cwd: bundle.folder,
      env: programEnvironment({
        AWS_LAMBDA_RUNTIME_API: api.address,
        BLIP_LAMBDA_AUTHORIZER: 'platform',
        LOG_LEVEL: 'silent',
      }),
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  const queue = await startQueue(2);
  try {
    const transcript: string[] = [];
    const note = (what: string, answer: unknown, wanted: string) => {
      const text = JSON.stringify(answer).replaceAll(bundle.folder, '/FOLDER');
      if (!text.includes(wanted)) throw new Error(`Expected ${what} to have ${wanted}, got ${text}`);
      transcript.push(`${what}: ${text.length > 300 ? `${text.slice(0, 300)}…` : text}`);
    };
    note('direct invocation', await api.invoke({ img_url: image }), caption);
    const request = { method: 'POST', path: '/v2/models/captioning/generate', body: { img_url: image } };
    note('Function URL', await api.invoke(functionUrlEvent(request)), caption);
    note('REST API', await api.invoke(restApiEvent(request)), caption);
    note('Function URL, no such path', await api.invoke(functionUrlEvent({ path: '/nothing' })), 'NOT_FOUND');
    note('direct invocation, no image', await api.invoke({ text: 'a picture of' }), 'INVALID_INPUT');
    await queue.send([{ img_url: image }, { img_url: 'http://169.254.169.254/' }, { img_url: 'http://127.0.0.1:9/' }]);
    let deliveries = 0;
    while (queue.left() > 0) {
      const delivered = await queue.deliver(async (event) => {
        const answer = await api.invoke(event);
        note(`a batch of ${event.Records.length}`, answer, 'batchItemFailures');
        return answer as SQSBatchResponse; // The line above.
      });
      deliveries += delivered;
    }
    note('messages delivered, the unreachable image twice', deliveries, '4');
    note('dead letters', await queue.deadLetters(), 'http://127.0.0.1:9/');
    return transcript.join('\n');
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
    api.close();
    await queue.close();
  }
}

async function main(folder: string): Promise<void> {
  const bundle = buildBundle();
  const variables = { BLIP_API_TOKENS: TOKEN, BLIP_GRPC_PORT: '0', BLIP_MODELS: models.join(','), HOST: '127.0.0.1' };
  const server = await startServerProcess(bundle, variables);
  try {
    const service = {
      url: server.url,
      grpcAddress: `127.0.0.1:${await grpcPortOf(server)}`,
      caption: await captionOf(server.url),
    };
    process.stdout.write(
      '# Recorded output of the clients\n\n[test/clients/try.ts](../../test/clients/try.ts) printed this document. It ran the real clients of other platforms\nagainst the bundled server. It prints a line only if the answer equals the one to a plain request; any other answer ends\nit.\n',
    );
    const python = (title: string, environment: string, program: string) =>
      runPython(folder, environment, program, service).then((text) => describe(title, text));
    describe('curl, every example of the documents', await runCurls(service));
    await python('tritonclient 2.73 over HTTP', 'clients', 'tritonclient_http.py');
    await python('tritonclient 2.73 over gRPC', 'clients', 'tritonclient_grpc.py');
    await python("Jina's client 3.14, with docarray 0.21", 'jina', 'jina_client.py');
    describe('the examples of gRPC', await runExamples(folder, bundle));
    await python("KServe's SDK 0.21", 'kserve', 'kserve_sdk.py');
    await python("BentoML's clients 1.4.39", 'clients', 'bentoml_client.py');
    await python('huggingface_hub 2.4', 'clients', 'hugging_face_hub.py');
    await python("RunPod's client 1.12", 'clients', 'runpod_client.py');
    describe('schemathesis 4.32, over /openapi.json', await runSchemathesis(folder, service));
    describe('aws-lambda-ric 3.3, with a queue of fauxqs 1.9', await runLambda(folder, bundle, service));
  } finally {
    server.kill('SIGTERM');
    await server.exit;
    bundle.remove();
  }
}

const [, , folder] = process.argv;
if (folder === undefined)
  throw new Error('Expected the folder that install.sh has installed the clients into, got none.');
await main(folder);
