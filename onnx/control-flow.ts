import type { ElementType } from './element-type.ts';
import { withShape } from './fit.ts';
import {
  addBodyOutput,
  addInput,
  addNode,
  addOutput,
  createBody,
  type Graph,
  uniqueName,
  type Value,
} from './graph.ts';
import { createScope, type Scope } from './scope.ts';
import type { Shape } from './shape.ts';
import { flatten, mapValues } from './value-tree.ts';

/**
 * ONNX Loop without scan outputs. `body` gets the state of one iteration and returns the next, with the condition to
 * go on. The state is any structure of values; shapes may change between iterations. The first iteration always runs.
 * @throws RangeError where the next state differs from the initial one in structure, or in a type.
 */
export function loop<State extends object>(
  scope: Scope,
  initial: State,
  body: (scope: Scope, iteration: Value<'int64'>, state: State) => { state: State; goOn: Value<'bool'> },
): State {
  const graph = createBody(scope.op.graph, uniqueName(scope.op.graph, `${scope.op.path}/body`));
  const iteration = addInput(graph, `${graph.name}.iteration`, 'int64', []);
  addInput(graph, `${graph.name}.condition`, 'bool', []);
  const state = mapValues(initial, (path, value) => addInput(graph, `${graph.name}.${path}`, value.elementType));
  const next = body(createScope(graph, scope.op.path), iteration, state);
  addBodyOutput(graph, `${graph.name}.go_on`, next.goOn);
  addOutputs(graph, next.state, initial, '.next');
  const inputs = flatten(initial).map(([, value]) => value);
  return readOutputs(scope, initial, {
    operator: 'Loop',
    inputs: [undefined, scope.op.constant('bool', true), ...inputs],
    attributes: { body: { graph } },
  });
}

/**
 * ONNX Loop with one scan output: a value for each iteration, stacked along a new first axis.
 * @param count 0-D: how many iterations there are; there may be none.
 * @param shape of the value, which is the same in every iteration.
 * @returns [count, ...shape].
 */
export function collect<T extends ElementType>(
  scope: Scope,
  count: Value<'int64'>,
  shape: readonly number[],
  body: (scope: Scope, iteration: Value<'int64'>) => Value<T>,
): Value<T> {
  const graph = createBody(scope.op.graph, uniqueName(scope.op.graph, `${scope.op.path}/body`));
  const iteration = addInput(graph, `${graph.name}.iteration`, 'int64', []);
  const goOn = addInput(graph, `${graph.name}.condition`, 'bool', []);
  const value = body(createScope(graph, scope.op.path), iteration);
  addBodyOutput(graph, `${graph.name}.go_on`, goOn);
  addOutput(graph, `${graph.name}.value`, value, shape);
  const description = { operator: 'Loop', inputs: [count, undefined], attributes: { body: { graph } } };
  const [collected] = addNode(scope.op, description, [value.elementType]);
  return withShape(collected, [undefined, ...shape]);
}

/**
 * ONNX If: both branches return values in one structure; only one branch is computed.
 * @throws RangeError where the branches differ in structure, or in a type.
 */
export function conditional<Result extends object>(
  scope: Scope,
  condition: Value<'bool'>,
  whenTrue: (scope: Scope) => Result,
  whenFalse: (scope: Scope) => Result,
): Result {
  const name = uniqueName(scope.op.graph, `${scope.op.path}/if`);
  const trueBranch = createBody(scope.op.graph, `${name}.true`);
  const falseBranch = createBody(scope.op.graph, `${name}.false`);
  const result = whenTrue(createScope(trueBranch, scope.op.path));
  addOutputs(trueBranch, result, result);
  const otherwise = whenFalse(createScope(falseBranch, scope.op.path));
  addOutputs(falseBranch, otherwise, result);
  const outputs = readOutputs(scope, result, {
    operator: 'If',
    inputs: [condition],
    attributes: { then_branch: { graph: trueBranch }, else_branch: { graph: falseBranch } },
  });
  return withCommonShapes(outputs, result, otherwise);
}

/**
 * Makes the values of `tree` outputs of a body, in the order of `like`.
 * @throws RangeError where the two differ in structure, or in a type.
 */
function addOutputs(graph: Graph, tree: object, like: object, suffix = ''): void {
  const [expected, got] = [pathsOf(like), pathsOf(tree)];
  if (got !== expected) throw new RangeError(`${graph.name}: expected values at ${expected}, got ${got}.`);
  const values = new Map(flatten(tree));
  for (const [path, { elementType }] of flatten(like)) {
    const value = values.get(path);
    if (value?.elementType !== elementType)
      throw new RangeError(`${graph.name}: expected ${elementType} at ${path}, got ${value?.elementType}.`);
    addBodyOutput(graph, `${graph.name}.${path}${suffix}`, value);
  }
}

/** `beams.scores, cache.0.keys`, whatever the order of the keys. */
function pathsOf(tree: object): string {
  const paths = flatten(tree).map(([path]) => path);
  return paths.toSorted().join(', ');
}

/** Adds a node with one output for each value of `like`, and returns the outputs in that structure. */
function readOutputs<T extends object>(scope: Scope, like: T, description: Parameters<typeof addNode>[1]): T {
  const leaves = flatten(like);
  const outputs = addNode(
    scope.op,
    description,
    leaves.map(([, value]) => value.elementType),
  );
  const byPath = new Map(leaves.map(([path], index) => [path, outputs[index]]));
  return mapValues(like, (path, value) => byPath.get(path) ?? value);
}

/** Dimensions that both branches give a value are known, whichever is taken. */
function withCommonShapes<T extends object>(outputs: T, whenTrue: T, whenFalse: T): T {
  const shapes = [whenTrue, whenFalse].map((tree) => new Map(flatten(tree)));
  return mapValues(outputs, (path, output) => {
    const [first, second] = shapes.map((values) => values.get(path)?.shape);
    return withShape(output, commonShape(first, second));
  });
}

function commonShape(a: Shape | undefined, b: Shape | undefined): Shape | undefined {
  if (a === undefined || b === undefined || a.length !== b.length) return undefined;
  return a.map((size, axis) => (size === b[axis] ? size : undefined));
}
