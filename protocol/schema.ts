/** What a handler takes and gives, in Inferless' shape. Schemas are data: each task has its own (input_schema.ts). */
export interface InputField {
  readonly datatype: 'STRING' | 'INT64' | 'FP32' | 'BOOL';
  readonly required: boolean;
  /** [1] is one value, [-1] any number. */
  readonly shape: readonly [1] | readonly [-1];
  readonly example: readonly (string | number | boolean)[];
  readonly description: string;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  /** Values may also be bytes: an image file as it is. */
  readonly acceptsBytes?: true;
  /** The only values there are. */
  readonly allowed?: readonly (string | boolean)[];
}

export interface OutputField {
  readonly datatype: 'BYTES' | 'INT64' | 'FP32';
  readonly shape: readonly number[];
  /** Part of every answer, or only of one that asks for it through `outputs`. */
  readonly onRequest: boolean;
  readonly description: string;
}

export type InputFields = Readonly<Record<string, InputField>>;
export type OutputFields = Readonly<Record<string, OutputField>>;

/** What a task takes and gives. */
export interface TaskSchema {
  readonly inputs: InputFields;
  readonly outputs: OutputFields;
}

/** The values of one input: a list, also where there is one value. */
export type InputLists = Readonly<Record<string, readonly unknown[]>>;
