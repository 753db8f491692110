/**
 * Variables that onnxruntime reads from the process, where its interface for Node has no option. They must be set before
 * the first session, and by the main thread: `process.env` of a worker thread is a copy. Whoever sets them otherwise is
 * obeyed.
 */
const variables = {
  /** It would send names of graphs and files to its maker. */
  ORT_DISABLE_TELEMETRY: '1',
  /**
   * On cards from the H100 on, cuDNN's attention comes before onnxruntime's own in 16 bits. cuDNN plans anew for each shape
   * of keys, and those of a text grow with each token.
   */
  ORT_ENABLE_CUDNN_FLASH_ATTENTION: '0',
} as const;

export function setRuntimeVariables(): void {
  for (const [name, value] of Object.entries(variables)) process.env[name] ??= value;
}
