/**
 * Turns off the telemetry of onnxruntime, which would send names of graphs and files to its maker. The runtime reads the
 * variable from the process when it opens the first session, so a worker thread, whose `process.env` is a copy, is too
 * late: the thread that starts it calls this. Whoever sets ORT_DISABLE_TELEMETRY otherwise is obeyed.
 */
export function disableTelemetry(): void {
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1';
}
