import type { FastifyRequest } from 'fastify';
import { schemas } from '../../../input_schema.ts';
import { HandlerError } from '../../../protocol/errors.ts';
import { suggestion } from '../../../protocol/known-names.ts';
import { describeValue } from '../../../protocol/validation.ts';

/** The names of all inputs and parameters, whichever model takes them. */
const inputNames = [...new Set(['timeout', ...Object.values(schemas).flatMap(({ inputs }) => Object.keys(inputs))])];

/**
 * Refuses inputs and parameters in the query of a path that reads them in the body, where they would be dropped without a
 * word. Other names of a query are those of gateways, such as their keys.
 * @throws HandlerError `INVALID_INPUT`.
 */
export function refuseInputsInQuery({ query }: FastifyRequest): void {
  const name = Object.keys(query as object).find((each) => suggestion(each, inputNames) !== '.'); // Fastify's own parser.
  if (name === undefined) return;
  throw new HandlerError(
    'INVALID_INPUT',
    `Expected inputs and parameters in the body, got ${describeValue(name)} in the query.`,
  );
}
