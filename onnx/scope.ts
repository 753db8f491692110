import type { Graph } from './graph.ts';
import { Operators } from './operators.ts';

/** The operators that write their nodes to one place: `op.graph`, under names that begin with `op.path`. */
export interface Scope {
  readonly op: Operators;
}

export function createScope(graph: Graph, path = ''): Scope {
  return { op: new Operators(graph, path) };
}
