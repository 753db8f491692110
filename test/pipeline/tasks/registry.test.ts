import { describe, expect, test } from 'vitest';
import { tasks } from '../../../checkpoint/config/architecture.ts';
import { schemas } from '../../../input_schema.ts';
import { registry } from '../../../pipeline/tasks/registry.ts';

describe('the registry of tasks', () => {
  test('has a row for the task of each architecture, and no others', () => {
    expect(Object.keys(registry).sort()).toEqual([...new Set(tasks)].sort());
  });

  test.each(tasks)('%s: its schema is the published one', (task) => {
    expect(registry[task].schema).toBe(schemas[task]);
  });
});
