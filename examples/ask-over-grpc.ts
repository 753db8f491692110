// npm i @grpc/grpc-js @grpc/proto-loader; npx tsx examples/ask-over-grpc.ts
import { readFileSync } from 'node:fs';
import {
  credentials,
  type GrpcObject,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const folder = 'handlers/grpc/proto';
const loaded = loadPackageDefinition(loadSync('blip/v1/visual_question_answering.proto', { includeDirs: [folder] }));
const { VisualQuestionAnswering } = (loaded['blip'] as GrpcObject)['v1'] as Record<string, ServiceClientConstructor>;
if (VisualQuestionAnswering === undefined) throw new Error('Expected the service in its .proto file, got none.');

const address = process.env['BLIP_GRPC_ADDRESS'] ?? '127.0.0.1:8081';
const client = new VisualQuestionAnswering(address, credentials.createInsecure());
const metadata = new Metadata();
metadata.set('authorization', 'Bearer my-token');
const prompt = 'Question: how many cats are there? Answer:';
const request = { bytes: readFileSync('examples/two-cats.png'), prompt };
client['answer']?.(request, metadata, (error: Error | null, answer: { text: string; score: number }) => {
  process.stdout.write(error === null ? `${answer.text} (${answer.score.toFixed(3)})\n` : `${error.message}\n`);
  client.close();
});
