// npm i @grpc/grpc-js @grpc/proto-loader tsx; npx tsx examples/ask-over-grpc.ts
import { readFileSync } from 'node:fs';
import { credentials, Metadata, makeClientConstructor, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const definitions = loadSync('handlers/grpc/proto/blip/v1/visual_question_answering.proto');
const service = definitions['blip.v1.VisualQuestionAnswering'] as ServiceDefinition;
const Client = makeClientConstructor(service, 'VisualQuestionAnswering');
const client = new Client(process.env['BLIP_GRPC_ADDRESS'] ?? '127.0.0.1:8081', credentials.createInsecure());

const prompt = 'Question: how many cats are there? Answer:';
const request = { bytes: readFileSync('examples/two-cats.png'), prompt };
const metadata = new Metadata();
metadata.set('authorization', 'Bearer my-token');
client['answer']?.(request, metadata, (error: Error | null, answer: { text: string; score: number }) => {
  process.stdout.write(error === null ? `${answer.text} (${answer.score.toFixed(3)})\n` : `${error.message}\n`);
  client.close();
});
