/**
 * Names that clients send and this service knows, without doing anything about them. All other names that nobody reads are
 * refused. A test compares docs/reference/platforms.md with this table.
 */
export const namesWithoutEffect = {
  'the parameters of a request': {
    priority: 'Triton: clients take turns, and no request has priority',
    sequence_id: 'Triton: each request stands alone',
    sequence_start: 'Triton: each request stands alone',
    sequence_end: 'Triton: each request stands alone',
    triton_enable_empty_final_response: 'Triton: each request of a stream has one answer',
    content_type: 'MLServer: the datatype says how values are read',
    headers: 'MLServer, Triton: a copy of the HTTP headers',
    stream: "Triton's generate: a caption is computed as a whole",
  },
  'a request of the Open Inference Protocol': {
    model_name: "KServe's SDK: the path names the model",
    model_version: 'MLServer: the path names the version',
  },
  'a tensor': {
    optional: 'Inferless: the schema says what is optional',
    required: 'Inferless: the schema says what is required',
  },
  'the parameters of a tensor': {
    content_type: 'MLServer: the datatype says how values are read',
    headers: 'MLServer: a copy of the HTTP headers',
  },
  'a requested output': {
    datatype: 'the schema says the datatype',
    shape: 'the answer says the shape',
  },
  'a request with instances': {
    signature_name: 'TensorFlow Serving: a model has one signature',
  },
  "a request of Hugging Face's clients": {
    options: "Inference API: use_cache, wait_for_model and others are about Hugging Face's own servers",
    model: 'the address names the service',
  },
  "the parameters of Hugging Face's pipelines": {
    function_to_apply: 'image-classification: scores are probabilities',
    return_full_text: 'text-generation: captions begin with their prompt, as image-to-text has it',
    details: 'text-generation-inference: outputs of the Open Inference Protocol have the tokens',
    timeout: 'pipelines: BLIP_IMAGE_TIMEOUT_MS limits the fetch of an image',
    truncation: 'pipelines: too long a text is refused',
    watermark: 'text-generation-inference: no text is marked',
  },
  'a prediction of Cog': {
    version: 'Replicate: the service has one version',
    created_at: 'Cog: the answer has the time of this service',
    started_at: 'Cog: the answer has the time of this service',
    context: 'Cog: the surroundings of a prediction',
    output_file_prefix: 'Cog: outputs are no files',
    stream: 'Replicate: a prediction is answered as a whole',
    webhook_events_filter: 'Cog: a webhook is refused, so that there are no events',
  },
  'a job of RunPod': {
    id: 'RunPod: a job gets an id of its own',
    s3Config: 'RunPod: outputs are no files',
  },
  'the policy of a job of RunPod': {
    lowPriority: 'RunPod: clients take turns, and no job has priority',
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, string>>>>;

/** A JSON schema for the names without effect of one place: they may have any value. */
export function schemaWithoutEffect(place: keyof typeof namesWithoutEffect): Readonly<Record<string, object>> {
  return Object.fromEntries(Object.keys(namesWithoutEffect[place]).map((name) => [name, {}]));
}
