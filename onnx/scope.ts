import type { Graph, Place } from './graph.ts';
import { MicrosoftOperators } from './microsoft-operators.ts';
import { Operators } from './operators.ts';

/** A place in a graph, and the operators that write their nodes there. */
export interface Scope extends Place {
  readonly op: Operators;
  readonly microsoft: MicrosoftOperators;
}

export function createScope(graph: Graph, path = ''): Scope {
  const place = { graph, path };
  return { ...place, op: new Operators(place), microsoft: new MicrosoftOperators(place) };
}
