import { bool } from './constants.ts';
import {
  addBodyOutput,
  addInput,
  addNode,
  createBody,
  type Graph,
  type Scope,
  uniqueName,
  type Value,
} from './graph.ts';
import { flatten, mapValues } from './value-tree.ts';

/**
 * ONNX Loop without scan outputs. `body` gets the state of one iteration and returns the next, with the condition to
 * go on. The state is any structure of values; shapes may change between iterations. The first iteration always runs.
 */
export function loop<State extends object>(
  scope: Scope,
  initial: State,
  body: (scope: Scope, iteration: Value<'int64'>, state: State) => { state: State; goOn: Value<'bool'> },
): State {
  const graph = createBody(scope.graph, uniqueName(scope.graph, `${scope.path}/body`));
  const iteration = addInput(graph, `${graph.name}.iteration`, 'int64', []);
  addInput(graph, `${graph.name}.condition`, 'bool', []);
  const state = mapValues(initial, (path, value) => addInput(graph, `${graph.name}.${path}`, value.elementType));
  const next = body({ graph, path: scope.path }, iteration, state);
  addBodyOutput(graph, `${graph.name}.go_on`, next.goOn);
  addOutputs(graph, next.state, initial, '.next');
  const inputs = flatten(initial).map(([, value]) => value);
  return readOutputs(scope, initial, {
    operator: 'Loop',
    inputs: [undefined, bool(scope, true), ...inputs],
    attributes: { body: { graph } },
  });
}

/** ONNX If: both branches return the same structure of values; only one is computed. */
export function conditional<Result extends object>(
  scope: Scope,
  condition: Value<'bool'>,
  whenTrue: (scope: Scope) => Result,
  whenFalse: (scope: Scope) => Result,
): Result {
  const name = uniqueName(scope.graph, `${scope.path}/if`);
  const trueBranch = createBody(scope.graph, `${name}.true`);
  const falseBranch = createBody(scope.graph, `${name}.false`);
  const result = whenTrue({ graph: trueBranch, path: scope.path });
  addOutputs(trueBranch, result, result);
  addOutputs(falseBranch, whenFalse({ graph: falseBranch, path: scope.path }), result);
  return readOutputs(scope, result, {
    operator: 'If',
    inputs: [condition],
    attributes: { then_branch: { graph: trueBranch }, else_branch: { graph: falseBranch } },
  });
}

/** Makes the values of `tree` outputs of a body, in the order of `like`. */
function addOutputs(graph: Graph, tree: object, like: object, suffix = ''): void {
  const values = new Map(flatten(tree));
  for (const [path] of flatten(like)) {
    const value = values.get(path);
    if (value === undefined)
      throw new RangeError(`${graph.name}: expected a value at ${path}, got ${[...values.keys()].join(', ')}.`);
    addBodyOutput(graph, `${graph.name}.${path}${suffix}`, value);
  }
}

/** Adds a node with one output for each value of `like`, and returns the outputs in that structure. */
function readOutputs<T extends object>(scope: Scope, like: T, description: Parameters<typeof addNode>[1]): T {
  const leaves = flatten(like);
  const outputs = addNode(
    scope,
    description,
    leaves.map(([, value]) => value.elementType),
  );
  const byPath = new Map(leaves.map(([path], index) => [path, outputs[index]]));
  return mapValues(like, (path, value) => byPath.get(path) ?? value);
}
