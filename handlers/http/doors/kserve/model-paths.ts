/** The paths of a model with a suffix: without its version, and with it. */
export function modelPaths(suffix: string): readonly string[] {
  return [`/v2/models/:model${suffix}`, `/v2/models/:model/versions/:version${suffix}`];
}
