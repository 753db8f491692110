import { encodeTensor } from './binary-tensor.ts';
import { MODEL_VERSION } from './metadata.ts';
import type { NamedTensor } from './named-tensor.ts';

/** Facts about an answer, besides its tensors. */
export interface ResponseParameters {
  /** The type that the model computed with, or `int8` where its weights are. Numbers are FP32 in any case. */
  readonly precision: string;
}

/** The answer to an inference request of the Open Inference Protocol. The keys are in Triton's order. */
export interface InferenceResponse {
  readonly model_name: string;
  readonly model_version: string;
  /** The id of the request, if it had one. */
  readonly id?: string;
  readonly parameters: ResponseParameters;
  readonly outputs: readonly NamedTensor[];
}

export function inferenceResponse(
  modelName: string,
  id: string | undefined,
  { outputs, precision }: ResponseParameters & { readonly outputs: readonly NamedTensor[] },
): InferenceResponse {
  const named = { model_name: modelName, model_version: MODEL_VERSION, ...(id === undefined ? {} : { id }) };
  return { ...named, parameters: { precision }, outputs };
}

/** A response on the wire. Binary tensors follow the JSON, whose length must then be sent too. */
export interface EncodedResponse {
  readonly body: Uint8Array;
  /** The length of the JSON in bytes, if binary tensors follow; else `undefined`. */
  readonly jsonLength: number | undefined;
}

/** @param isBinary whether an output is requested as bytes. */
export function encodeResponse(response: InferenceResponse, isBinary: (name: string) => boolean): EncodedResponse {
  const sections = response.outputs.map((tensor) => (isBinary(tensor.name) ? encodeTensor(tensor) : undefined));
  const outputs = response.outputs.map((tensor, index) => {
    const section = sections[index];
    if (section === undefined) return tensor;
    const { name, datatype, shape } = tensor;
    return { name, datatype, shape, parameters: { binary_data_size: section.length } };
  });
  const json = Buffer.from(JSON.stringify({ ...response, outputs }));
  const binary = sections.filter((section) => section !== undefined);
  if (binary.length === 0) return { body: json, jsonLength: undefined };
  return { body: Buffer.concat([json, ...binary]), jsonLength: json.length };
}
