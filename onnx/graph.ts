import type { ElementType } from './element-type.ts';
import { type Dimension, describeShape, type Shape } from './shape.ts';

/** A tensor that flows through a graph: an input, an initializer or the output of a node. */
export interface Value<T extends ElementType = ElementType> {
  readonly name: string;
  readonly elementType: T;
  /** Absent where not even the number of dimensions is known. The runtime does not see it: it infers its own. */
  readonly shape?: Shape;
}

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
  /**
   * How often each name was asked for. A graph and its bodies share it, because onnxruntime wants names to be unique
   * across both.
   */
  readonly nameCounts: Map<string, number>;
  /** Values that were written once and may be used again, by what they were made of. See `once`. */
  readonly written: Map<string, Value>;
  /** Names of the values that nodes of this graph compute; not of those that nodes of its bodies do. */
  readonly computed: Set<string>;
  /** Names of the initializers that nodes of this graph cast. */
  readonly castInitializers: Set<string>;
}

/** Where a node is written: a graph, and the module path that its name starts with. */
export interface Place {
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
    written: new Map(),
    computed: new Set(),
    castInitializers: new Set(),
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
    written: new Map(),
    computed: new Set(),
    castInitializers: new Set(),
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

export function isOfType<T extends ElementType>(value: Value, elementType: T): value is Value<T> {
  return value.elementType === elementType;
}

/**
 * The value that this graph has under `key`, or else the one that `write` adds to it. Names of values are unique, so a
 * key may be made of them.
 */
export function once<T extends ElementType>(
  graph: Graph,
  key: string,
  elementType: T,
  write: () => Value<T>,
): Value<T> {
  const existing = graph.written.get(key);
  if (existing !== undefined && isOfType(existing, elementType)) return existing;
  const value = write();
  graph.written.set(key, value);
  return value;
}

function pushNode(graph: Graph, node: Node): void {
  graph.nodes.push(node);
  for (const output of node.outputs) graph.computed.add(output);
}

/** Makes `value` an output of the graph under `name`. */
export function addOutput(graph: Graph, name: string, value: Value, shape?: readonly Dimension[]): void {
  const output = {
    name: uniqueName(graph, name),
    elementType: value.elementType,
    ...(shape === undefined ? {} : { shape }),
  };
  pushNode(graph, {
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
  if (graph.computed.has(value.name) && !isOutput)
    graph.outputs.push({ name: value.name, elementType: value.elementType });
  else addOutput(graph, name, value);
}

/**
 * Adds a tensor that is known when the graph is written. A name that is used twice stands for one tensor.
 * @throws RangeError where the name stands for another tensor already.
 */
export function addInitializer<T extends ElementType>(
  graph: Graph,
  name: string,
  elementType: T,
  shape: readonly number[],
  data: Uint8Array | ExternalData,
): Value<T> {
  const initializer = { name, elementType, shape, data };
  const existing = graph.initializers.get(name);
  if (existing === undefined) graph.initializers.set(name, initializer);
  else if (!isSameTensor(existing, initializer)) throw nameIsTaken(existing, initializer);
  return { name, elementType, shape };
}

function isSameTensor(a: Initializer, b: Initializer): boolean {
  return a.elementType === b.elementType && String(a.shape) === String(b.shape) && isSameData(a.data, b.data);
}

function isSameData(a: Initializer['data'], b: Initializer['data']): boolean {
  if (a instanceof Uint8Array || b instanceof Uint8Array)
    return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0;
  return a.location === b.location && a.offsetBytes === b.offsetBytes && a.lengthBytes === b.lengthBytes;
}

function nameIsTaken(existing: Initializer, other: Initializer): RangeError {
  const [expected, got] = [existing, other].map(
    ({ elementType, shape, data }) => `${elementType} ${describeShape(shape)} ${describeData(data)}`,
  );
  return new RangeError(`${other.name}: expected the tensor that has this name already, ${expected}, got ${got}.`);
}

function describeData(data: Initializer['data']): string {
  if (data instanceof Uint8Array) return `of ${data.length} bytes in the graph`;
  return `of ${data.lengthBytes} bytes at ${data.offsetBytes} in ${data.location}`;
}

/**
 * A copy of an outermost graph that declares initializers as overridable inputs. No run overrides them, but because one
 * could, onnxruntime does not repack them and uses the mapped bytes.
 */
export function withOverridable(graph: Graph, isOverridable: (initializer: Initializer) => boolean): Graph {
  return { ...graph, inputs: [...graph.inputs, ...[...graph.initializers.values()].filter(isOverridable)] };
}

/** Names of the values that nodes of an operator read, in the graph and in its bodies. */
export function namesReadBy(graph: Graph, operator: string): ReadonlySet<string> {
  const bodies = graph.nodes.flatMap(({ attributes }) =>
    Object.values(attributes).flatMap((attribute) => ('graph' in attribute ? [attribute.graph] : [])),
  );
  const own = graph.nodes.filter((node) => node.operator === operator).flatMap(({ inputs }) => inputs);
  return new Set([...own, ...bodies.flatMap((body) => [...namesReadBy(body, operator)])]);
}

export interface NodeDescription {
  readonly operator: string;
  readonly domain?: string;
  /** `undefined` leaves out an optional input. */
  readonly inputs: readonly (Value | undefined)[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

/** `path/Operator`: the name of a place's first node of that operator. */
export function nodeName({ path }: Place, operator: string): string {
  return path === '' ? operator : `${path}/${operator}`;
}

/** Adds a node named `path/Operator` with outputs of the given element types. */
export function addNode<const T extends readonly ElementType[]>(
  place: Place,
  description: NodeDescription,
  outputTypes: T,
): { [Index in keyof T]: Value<T[Index]> };
export function addNode(place: Place, description: NodeDescription, outputTypes: readonly ElementType[]): Value[] {
  const { graph } = place;
  const name = uniqueName(graph, nodeName(place, description.operator));
  const outputs = outputTypes.map((elementType, index) => ({
    name: index === 0 ? name : `${name}.${index}`,
    elementType,
  }));
  pushNode(graph, {
    name,
    operator: description.operator,
    domain: description.domain ?? '',
    inputs: description.inputs.map((input) => input?.name ?? ''),
    outputs: outputs.map((output) => output.name),
    attributes: description.attributes ?? {},
  });
  return outputs;
}
