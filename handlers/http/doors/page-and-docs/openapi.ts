import type Handler from '../../../../app.ts';
import { errorCodes } from '../../../../protocol/errors.ts';
import { wireDatatype } from '../../../../protocol/inference-request.ts';
import type { InputField, InputFields, TaskSchema } from '../../../../protocol/schema.ts';
import { type JsonSchema, listSchema, valueSchema } from '../../../../protocol/validation.ts';
import { version } from '../../../service/version.ts';

/**
 * The service as OpenAPI 3.1, for the models that are loaded. It is made from the schemas that requests are checked against.
 * Source: spec.openapis.org/oas/v3.1.
 */

/** A model that is loaded. */
interface Described {
  readonly name: string;
  readonly schema: TaskSchema;
}

const errorSchema: JsonSchema = {
  type: 'object',
  required: ['error', 'code'],
  properties: {
    error: { type: 'string', description: 'What was expected, and what came.' },
    code: { enum: Object.keys(errorCodes), description: 'Stays the same between versions.' },
  },
};

/** The document for the models that are loaded now. Other models have no paths in it yet. */
export function openApiDocument(models: readonly Handler[]): object {
  const described = models.flatMap((model): readonly Described[] => {
    const { name } = model;
    return name === undefined || model.model === undefined ? [] : [{ name, schema: model.schema }];
  });
  return {
    openapi: '3.1.0',
    info: {
      title: 'blip-handler',
      version,
      description: 'Captions, answers, image-text matches and embeddings over the Open Inference Protocol.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    tags: [{ name: 'inference' }, { name: 'models' }, { name: 'health' }],
    paths: { ...healthPaths(), ...servicePaths(), ...Object.assign({}, ...described.map(modelPaths)) },
    components: {
      schemas: { Error: errorSchema },
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
  };
}

function healthPaths(): object {
  const live = { type: 'object', required: ['live'], properties: { live: { type: 'boolean' } } };
  const ready = { ...live, properties: { ...live.properties, ready: { type: 'boolean' } } };
  return {
    '/v2/health/live': get('health', 'Whether the process lives.', { 200: live }),
    '/v2/health/ready': get('health', 'Whether it would answer.', { 200: ready, [errorCodes.NOT_READY.http]: ready }),
  };
}

function servicePaths(): object {
  const names = { type: 'object', properties: { models: { type: 'array', items: { type: 'string' } } } };
  return {
    '/v2': get('models', 'The service.', { 200: { type: 'object' } }),
    '/v2/models': get('models', 'Names of its models.', { 200: names }),
  };
}

function modelPaths({ name, schema }: Described): object {
  const path = `/v2/models/${encodeURIComponent(name)}`;
  const ready = { type: 'object', properties: { name: { type: 'string' }, ready: { type: 'boolean' } } };
  return {
    [path]: get('models', `Inputs and outputs of ${name}.`, { 200: { type: 'object' } }),
    [`${path}/ready`]: get('health', `Whether ${name} would answer.`, {
      200: ready,
      [errorCodes.NOT_READY.http]: ready,
    }),
    [`${path}/infer`]: post(`Asks ${name}, with named tensors.`, inferenceRequest(schema), inferenceResponse(schema)),
    [`${path}/generate`]: post(`Asks ${name}, with inputs by name.`, namedInputs(schema.inputs), {
      type: 'object',
      required: ['model_name', 'model_version'],
      properties: { model_name: { type: 'string' }, model_version: { type: 'string' } },
    }),
  };
}

function get(tag: string, summary: string, answers: Readonly<Record<number, JsonSchema>>): object {
  const responses = Object.entries(answers).map(([status, schema]) => [status, jsonContent(summary, schema)]);
  return { get: { tags: [tag], summary, responses: { ...Object.fromEntries(responses), default: errorAnswer } } };
}

function post(summary: string, request: JsonSchema, answer: JsonSchema): object {
  return {
    post: {
      tags: ['inference'],
      summary,
      security: [{ token: [] }, {}],
      requestBody: { required: true, content: { 'application/json': { schema: request } } },
      responses: { 200: jsonContent('The answer.', answer), ...refusals() },
    },
  };
}

function jsonContent(description: string, schema: JsonSchema): object {
  return { description, content: { 'application/json': { schema } } };
}

const errorAnswer = jsonContent('An error.', { $ref: '#/components/schemas/Error' });

/** Every status of an error, with its codes. */
function refusals(): object {
  const statuses = [...new Set(Object.values(errorCodes).map(({ http }) => http))];
  return Object.fromEntries(
    statuses.map((status) => {
      const codes = Object.entries(errorCodes).filter(([, { http }]) => http === status);
      return [status, { ...errorAnswer, description: codes.map(([code]) => code).join(', ') }];
    }),
  );
}

/** The schema of an inference request: tensors of the task in any order. Null is as absent. */
function inferenceRequest({ inputs, outputs }: TaskSchema): JsonSchema {
  return {
    type: 'object',
    required: ['inputs'],
    properties: {
      id: { type: ['string', 'null'] },
      parameters: {
        type: ['object', 'null'],
        description: 'Inputs of one value by their names, timeout, binary_data_output. Unknown names are refused.',
        additionalProperties: { type: ['string', 'number', 'boolean', 'null'] },
      },
      inputs: { type: 'array', minItems: 1, items: { oneOf: Object.entries(inputs).map(inputTensor) } },
      outputs: {
        type: ['array', 'null'],
        items: { type: 'object', required: ['name'], properties: { name: { enum: Object.keys(outputs) } } },
      },
    },
    examples: [
      {
        inputs: Object.entries(inputs)
          .filter(([, { required }]) => required)
          .map(exampleTensor),
      },
    ],
  };
}

function inputTensor([name, field]: readonly [string, InputField]): JsonSchema {
  return {
    type: 'object',
    description: field.description,
    required: ['name', 'shape', 'datatype', 'data'],
    properties: {
      name: { const: name },
      shape: { type: 'array', items: { type: 'integer', minimum: 1 } },
      datatype: { const: wireDatatype(field) },
      data: listSchema(field, valueSchema(field)),
    },
  };
}

function exampleTensor([name, field]: readonly [string, InputField]): object {
  return { name, shape: [field.example.length], datatype: wireDatatype(field), data: field.example };
}

function inferenceResponse({ outputs }: TaskSchema): JsonSchema {
  const tensor = ([name, { datatype, description }]: readonly [string, TaskSchema['outputs'][string]]) => ({
    type: 'object',
    description,
    required: ['name', 'datatype', 'shape', 'data'],
    properties: {
      name: { const: name },
      datatype: { const: datatype },
      shape: { type: 'array', items: { type: 'integer', minimum: 0 } },
      data: { type: 'array', items: { type: datatype === 'BYTES' ? 'string' : 'number' } },
    },
  });
  return {
    type: 'object',
    required: ['model_name', 'model_version', 'outputs'],
    properties: {
      model_name: { type: 'string' },
      model_version: { type: 'string' },
      id: { type: 'string' },
      parameters: {
        type: 'object',
        properties: { precision: { enum: ['float32', 'float16', 'bfloat16', 'int8', 'int4'] } },
      },
      outputs: { type: 'array', items: { oneOf: Object.entries(outputs).map(tensor) } },
    },
  };
}

function namedInputs(inputs: InputFields): JsonSchema {
  const entries = Object.entries(inputs);
  return {
    type: 'object',
    required: entries.filter(([, { required }]) => required).map(([name]) => name),
    properties: Object.fromEntries(
      entries.map(([name, field]) => {
        const value = valueSchema(field);
        const lists = field.shape[0] === 1 ? [] : [listSchema(field, value)];
        const none = field.required ? [] : [{ type: 'null' }];
        return [
          name,
          { oneOf: [value, ...lists, ...none], description: field.description, examples: [field.example[0]] },
        ];
      }),
    ),
  };
}
