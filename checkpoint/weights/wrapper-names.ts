/** Modules at the top of the models that are served, in transformers, in original checkpoints and in open_clip. */
const ROOTS: ReadonlySet<string> = new Set([
  'vision_model',
  'visual_encoder',
  'visual',
  'text_model',
  'text_encoder',
  'text_decoder',
]);

/** Modules that wrap another one and have no tensors: DataParallel's, torch.compile's, FSDP's, activation checkpoints'. */
const WRAPPERS: ReadonlySet<string> = new Set([
  'module',
  '_orig_mod',
  '_fsdp_wrapped_module',
  '_checkpoint_wrapped_module',
  '_forward_module',
]);

/**
 * How the names of a file become the model's own. Training scripts save models that are wrapped, so that names have
 * wrappers anywhere (`module._orig_mod.vision_model…`), and one more prefix before all of the model (`model.`).
 * @param names all names of the file. A prefix goes only where the whole model shares it, whatever lies beside it.
 */
export function unwrapNames(names: readonly string[]): (name: string) => string {
  const prefix = sharedPrefix(names.map(withoutWrappers));
  return (name) => {
    const bare = withoutWrappers(name);
    return bare.startsWith(prefix) ? bare.slice(prefix.length) : bare;
  };
}

function withoutWrappers(name: string): string {
  const segments = name.split('.');
  const others = segments.filter((segment) => !WRAPPERS.has(segment));
  return others.length === segments.length ? name : others.join('.');
}

/** The part before the model's own names; empty where there is none, or more than one, as in files with two models. */
function sharedPrefix(names: readonly string[]): string {
  const prefixes = new Set<string>();
  for (const name of names) {
    const segments = name.split('.');
    const root = segments.findIndex((segment) => ROOTS.has(segment));
    if (root !== -1) prefixes.add(segments.slice(0, root).join('.'));
  }
  const [prefix = ''] = prefixes;
  return prefixes.size === 1 && prefix !== '' ? `${prefix}.` : '';
}
