import { schemas } from '../../input_schema.ts';
import type { InputField } from '../../protocol/schema.ts';

/** input_schema.py, in the format that Inferless reads. It is made of input_schema.ts. */

export type Task = keyof typeof schemas;

export function isTask(text: string): text is Task {
  return Object.hasOwn(schemas, text);
}

/**
 * The text of input_schema.py for the models of a task. Inferless runs the file without the packages of a model, so it is
 * one literal.
 */
export function inputSchemaText(task: Task): string {
  const inputs: Readonly<Record<string, InputField>> = schemas[task].inputs;
  const entries = Object.entries(inputs).map(
    ([name, { datatype, required, shape, example }]) => `    "${name}": {
        "datatype": ${literal(datatype)},
        "required": ${literal(required)},
        "shape": ${literal(shape)},
        "example": ${literal(example)},
    },`,
  );
  return `"""The inputs of a model for ${task}. Made of input_schema.ts by \`npm run inferless ${task}\`."""

INPUT_SCHEMA = {
${entries.join('\n')}
}
`;
}

/** A literal of Python. JSON differs in the names of booleans alone. */
function literal(value: string | boolean | readonly (string | number | boolean)[]): string {
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') return JSON.stringify(value);
  return `[${value.map((item) => (typeof item === 'number' ? String(item) : literal(item))).join(', ')}]`;
}
