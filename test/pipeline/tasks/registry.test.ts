import { describe, expect, test } from 'vitest';
import { architectures } from '../../../checkpoint/config/architectures.ts';
import { schemas } from '../../../input_schema.ts';
import { registry } from '../../../pipeline/tasks/registry.ts';

const tasks = [...new Set(Object.values(architectures).map(({ task }) => task))];

describe('the registry of tasks', () => {
  test('has a row for the task of each architecture, and no others', () => {
    expect(Object.keys(registry).sort()).toEqual([...tasks].sort());
  });

  test.each(tasks)('%s: its schema is the published one', (task) => {
    expect(registry[task].schema).toBe(schemas[task]);
  });
});
