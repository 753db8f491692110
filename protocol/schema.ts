/** The inputs and outputs of a handler, in Inferless' shape. Schemas are data: each task has its own (input_schema.ts). */

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
  /** Values may also be bytes: an image file, not encoded as text. */
  readonly acceptsBytes?: true;
  /** The only valid values. */
  readonly allowed?: readonly (string | boolean)[];
}

export interface OutputField {
  readonly datatype: 'BYTES' | 'INT64' | 'FP32';
  readonly shape: readonly number[];
  /** Whether it comes only in answers to requests that name it in `outputs`. */
  readonly onRequest: boolean;
  readonly description: string;
}

export type InputFields = Readonly<Record<string, InputField>>;
export type OutputFields = Readonly<Record<string, OutputField>>;

/** The inputs and outputs of one task. */
export interface TaskSchema {
  readonly inputs: InputFields;
  readonly outputs: OutputFields;
}

/** The values of each input, before they are checked: a list, also where there is one value. */
export type InputLists = Readonly<Record<string, readonly unknown[]>>;

interface ValueTypes {
  readonly STRING: string;
  readonly INT64: number;
  readonly FP32: number;
  readonly BOOL: boolean;
}

/** One value of an input: from `allowed` where there is such a list, else by its datatype; bytes where it accepts them. */
export type ValueOf<Field extends InputField> =
  | (Field extends { readonly allowed: readonly (infer Value)[] } ? Value : ValueTypes[Field['datatype']])
  | (Field extends { readonly acceptsBytes: true } ? Uint8Array : never);

/** A checked input: one value, or a list of at least one value. */
type CheckedValue<Field extends InputField> = Field['shape'] extends readonly [1]
  ? ValueOf<Field>
  : readonly ValueOf<Field>[];

export type NamesWhere<Fields extends InputFields, Required extends boolean> = {
  [Name in keyof Fields]: Fields[Name]['required'] extends Required ? Name : never;
}[keyof Fields];

/** The checked inputs of a request. */
export type InputsOf<Fields extends InputFields> = {
  readonly [Name in NamesWhere<Fields, true>]: CheckedValue<Fields[Name]>;
} & {
  readonly [Name in NamesWhere<Fields, false>]?: CheckedValue<Fields[Name]> | undefined;
};
