import { MODEL_VERSION } from './metadata.ts';
import type { NamedTensor } from './named-tensor.ts';

/** The answer to an inference request of the Open Inference Protocol. Keys in Triton's order. */
export interface InferenceResponse {
  readonly model_name: string;
  readonly model_version: string;
  /** That of the request, where it had one. */
  readonly id?: string;
  readonly outputs: readonly NamedTensor[];
}

export function inferenceResponse(
  modelName: string,
  id: string | undefined,
  outputs: readonly NamedTensor[],
): InferenceResponse {
  return { model_name: modelName, model_version: MODEL_VERSION, ...(id === undefined ? {} : { id }), outputs };
}
