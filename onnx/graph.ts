import type { ElementType } from './element-type.ts';

/** A tensor that flows through a graph: an input, an initializer or the output of a node. */
export interface Value<T extends ElementType = ElementType> {
  readonly name: string;
  readonly elementType: T;
}

/** A number is fixed; a string names a dimension that is known only at run time. */
export type Dimension = number | string;

export interface ValueInfo {
  readonly name: string;
  readonly elementType: ElementType;
  /** Absent where a shape changes from one Loop iteration to the next. */
  readonly shape?: readonly Dimension[];
}

/** Bytes that stay in their file: the runtime maps them into memory when it loads the graph. */
export interface ExternalData {
  readonly location: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface Initializer {
  readonly name: string;
  readonly elementType: ElementType;
  readonly shape: readonly number[];
  readonly data: Uint8Array | ExternalData;
}

export type Attribute =
  | { readonly float: number }
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly string: string }
  | { readonly graph: Graph };

export interface Node {
  readonly name: string;
  readonly operator: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/**
 * A graph under construction. Loop and If bodies are graphs with a parent: they see every value of their parents,
 * and their initializers are written once, in the outermost graph.
 */
export interface Graph {
  readonly name: string;
  readonly parent: Graph | undefined;
  readonly inputs: ValueInfo[];
  readonly outputs: ValueInfo[];
  readonly nodes: Node[];
  /** Shapes of values inside the graph, where the writer knows more than the runtime infers. */
  readonly valueInfos: ValueInfo[];
  /** Only the outermost graph has any. */
  readonly initializers: Map<string, Initializer>;
  /** How often each name was asked for; shared by a graph and its bodies, because onnxruntime wants names unique across both. */
  readonly nameCounts: Map<string, number>;
}

/** Where a node is written: a graph, and the module path that its name starts with. */
export interface Scope {
  readonly graph: Graph;
  readonly path: string;
}

export function createGraph(name: string): Graph {
  return {
    name,
    parent: undefined,
    inputs: [],
    outputs: [],
    nodes: [],
    valueInfos: [],
    initializers: new Map(),
    nameCounts: new Map(),
  };
}

/** A graph for the body of a Loop or a branch of an If inside `parent`. */
export function createBody(parent: Graph, name: string): Graph {
  return {
    name,
    parent,
    inputs: [],
    outputs: [],
    nodes: [],
    valueInfos: [],
    initializers: parent.initializers,
    nameCounts: parent.nameCounts,
  };
}

export function outermost(graph: Graph): Graph {
  return graph.parent === undefined ? graph : outermost(graph.parent);
}

/** `name` itself where it is free, else the first free one of `name_1`, `name_2`, … */
export function uniqueName(graph: Graph, name: string): string {
  const count = graph.nameCounts.get(name) ?? 0;
  graph.nameCounts.set(name, count + 1);
  if (count === 0) return name;
  const candidate = `${name}_${count}`;
  return graph.nameCounts.has(candidate) ? uniqueName(graph, name) : uniqueName(graph, candidate);
}

/** Declares an input of the graph. The name must not be taken. */
export function addInput<T extends ElementType>(
  graph: Graph,
  name: string,
  elementType: T,
  shape?: readonly Dimension[],
): Value<T> {
  const input = { name: uniqueName(graph, name), elementType, ...(shape === undefined ? {} : { shape }) };
  graph.inputs.push(input);
  return input;
}

/** Makes `value` an output of the graph under `name`. */
export function addOutput(graph: Graph, name: string, value: Value, shape?: readonly Dimension[]): void {
  const output = {
    name: uniqueName(graph, name),
    elementType: value.elementType,
    ...(shape === undefined ? {} : { shape }),
  };
  graph.nodes.push({
    name: uniqueName(graph, `${output.name}/Identity`),
    operator: 'Identity',
    domain: '',
    inputs: [value.name],
    outputs: [output.name],
    attributes: {},
  });
  graph.outputs.push(output);
}

/**
 * Makes `value` the next output of a body, whose outputs go by position. A value that the body computes is the output
 * itself, so that nothing is copied; one that comes from outside, or is an output already, goes through an Identity.
 */
export function addBodyOutput(graph: Graph, name: string, value: Value): void {
  const isOutput = graph.outputs.some((output) => output.name === value.name);
  const isComputedHere = graph.nodes.some((node) => node.outputs.includes(value.name));
  if (isComputedHere && !isOutput) graph.outputs.push({ name: value.name, elementType: value.elementType });
  else addOutput(graph, name, value);
}

/** Adds a tensor that is known when the graph is written. The same name twice is the same tensor. */
export function addInitializer<T extends ElementType>(
  graph: Graph,
  name: string,
  elementType: T,
  shape: readonly number[],
  data: Uint8Array | ExternalData,
): Value<T> {
  if (!graph.initializers.has(name)) {
    graph.initializers.set(name, { name, elementType, shape, data });
  }
  return { name, elementType };
}

/**
 * Makes some initializers inputs with a default. No run gives them another value, but one could: so the runtime computes
 * with them where they lie, and does not copy them into an order of its own.
 */
export function makeOverridable(graph: Graph, isOverridable: (initializer: Initializer) => boolean): void {
  const { initializers, inputs } = outermost(graph);
  inputs.push(...[...initializers.values()].filter(isOverridable));
}

export interface NodeDescription {
  readonly operator: string;
  readonly domain?: string;
  /** `undefined` leaves out an optional input. */
  readonly inputs: readonly (Value | undefined)[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

/** Adds a node named `path/Operator` with outputs of the given element types. */
export function addNode<const T extends readonly ElementType[]>(
  scope: Scope,
  description: NodeDescription,
  outputTypes: T,
): { [Index in keyof T]: Value<T[Index]> };
export function addNode(scope: Scope, description: NodeDescription, outputTypes: readonly ElementType[]): Value[] {
  const { graph, path } = scope;
  const name = uniqueName(graph, path === '' ? description.operator : `${path}/${description.operator}`);
  const outputs = outputTypes.map((elementType, index) => ({
    name: index === 0 ? name : `${name}.${index}`,
    elementType,
  }));
  graph.nodes.push({
    name,
    operator: description.operator,
    domain: description.domain ?? '',
    inputs: description.inputs.map((input) => input?.name ?? ''),
    outputs: outputs.map((output) => output.name),
    attributes: description.attributes ?? {},
  });
  return outputs;
}
