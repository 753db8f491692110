export const executionProviderChoices = ['auto', 'cpu', 'cuda', 'webgpu'] as const;
export type ExecutionProviderChoice = (typeof executionProviderChoices)[number];
