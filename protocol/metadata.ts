import { wireDatatype } from './inference-request.ts';
import type { TaskSchema } from './schema.ts';

/** Version of the model in paths and answers. There is one. */
export const MODEL_VERSION = '1';

interface TensorMetadata {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
}

/** `GET /v2/models/{model}` of the Open Inference Protocol. */
export interface ModelMetadata {
  readonly name: string;
  readonly versions: readonly string[];
  readonly platform: string;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
  /** As MLServer has them; `properties` over gRPC. */
  readonly parameters?: { readonly precision: string; readonly preset?: string };
}

interface LoadedModel {
  readonly precision: string;
  /** The preset of requests that name none. */
  readonly preset?: string | undefined;
}

/** @param model where it is loaded. */
export function modelMetadata(name: string, { inputs, outputs }: TaskSchema, model?: LoadedModel): ModelMetadata {
  return {
    name,
    versions: [MODEL_VERSION],
    platform: 'onnx_onnxv1',
    inputs: Object.entries(inputs).map(([input, field]) => ({
      name: input,
      datatype: wireDatatype(field),
      shape: field.shape,
    })),
    outputs: Object.entries(outputs).map(([output, { datatype, shape }]) => ({ name: output, datatype, shape })),
    ...(model === undefined ? {} : { parameters: parametersOf(model) }),
  };
}

function parametersOf({ precision, preset }: LoadedModel): NonNullable<ModelMetadata['parameters']> {
  return { precision, ...(preset === undefined ? {} : { preset }) };
}
