import type { Graph, Place } from './graph.ts';
import { Operators } from './operators.ts';

/** A place in a graph, and the operators that write their nodes there. */
export interface Scope extends Place {
  readonly op: Operators;
}

export function createScope(graph: Graph, path = ''): Scope {
  return { graph, path, op: new Operators(graph, path) };
}
