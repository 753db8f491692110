import { functionUrlEvent, httpApiEvent, loadBalancerEvent, restApiEvent } from '../../support/lambda-events.ts';
import { askModelInfer, askModelStreamInfer } from './grpc-doors.ts';
import {
  askBentoml,
  askBentomlInJson,
  askBinaryInfer,
  askClipEncode,
  askClipRank,
  askCog,
  askGenerate,
  askGenerateStream,
  askHuggingFace,
  askHuggingFaceInBytes,
  askInfer,
  askKserveV1,
  askRunpod,
  askVertex,
  cosinesOfModel,
  embeddingsOfModel,
} from './http-doors.ts';
import { askByHttpEvent, askByQueue, askDirectly, seenByQueue } from './lambda-doors.ts';
import { type ContractServers, type DoorUnderContract, type Feature, modelOfLambda, modelOfServer } from './request.ts';

/** Every door that the contract suite asks. A new door is one line here. */

const modelOfClip = ({ clip }: ContractServers) => clip.model;
const oneImage: readonly Feature[] = ['several', 'partial', 'shapes', 'model'];
const vectors: readonly Feature[] = ['partial', 'parameters', 'shapes', 'model'];

const httpDoors: readonly Omit<DoorUnderContract, 'model'>[] = [
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

const clipDoors: readonly Omit<DoorUnderContract, 'model'>[] = [
  { name: "CLIP-API-service's encode", lacks: vectors, ask: askClipEncode, expected: embeddingsOfModel },
  { name: "CLIP-API-service's rank", lacks: vectors, ask: askClipRank, expected: cosinesOfModel },
];

const grpcDoors: readonly Omit<DoorUnderContract, 'model'>[] = [
  { name: 'gRPC', lacks: [], ask: askModelInfer },
  { name: 'a stream of gRPC', lacks: [], ask: askModelStreamInfer },
];

const lambdaDoors: readonly Omit<DoorUnderContract, 'model'>[] = [
  { name: 'a Function URL of AWS Lambda', lacks: [], ask: askByHttpEvent.bind(undefined, functionUrlEvent) },
  { name: 'an HTTP API of AWS Lambda', lacks: [], ask: askByHttpEvent.bind(undefined, httpApiEvent) },
  { name: 'a REST API of AWS Lambda', lacks: [], ask: askByHttpEvent.bind(undefined, restApiEvent) },
  { name: 'a load balancer of AWS Lambda', lacks: [], ask: askByHttpEvent.bind(undefined, loadBalancerEvent) },
  { name: 'a direct invocation of AWS Lambda', lacks: ['token', 'limit'], ask: askDirectly },
  { name: 'a message of SQS', lacks: ['token', 'limit'], ask: askByQueue, seenAs: seenByQueue },
];

export const everyDoor: readonly DoorUnderContract[] = [
  ...httpDoors.map((door) => ({ ...door, model: modelOfServer })),
  ...clipDoors.map((door) => ({ ...door, model: modelOfClip })),
  ...grpcDoors.map((door) => ({ ...door, model: modelOfServer })),
  ...lambdaDoors.map((door) => ({ ...door, model: modelOfLambda })),
];
