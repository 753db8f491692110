/**
 * Plain data that training scripts save beside the weights: options, paths, dates, numbers of numpy. Reading such a value
 * runs nothing: it becomes a description that has its name alone, and is left out. All other names stay refused, because
 * the same file runs code where Python loads it.
 */
export const skippedGlobals: ReadonlySet<string> = new Set([
  ...inModules(['argparse'], ['Namespace']),
  ...inModules(['types'], ['SimpleNamespace']),
  ...inModules(['collections'], ['defaultdict', 'Counter', 'deque']),
  ...inModules(['datetime'], ['datetime', 'date', 'time', 'timedelta', 'timezone']),
  ...inModules(['pathlib', 'pathlib._local'], ['Path', 'PosixPath', 'WindowsPath', 'PurePosixPath', 'PureWindowsPath']),
  ...inModules(['builtins', '__builtin__'], ['set', 'frozenset', 'complex', 'bytearray', 'slice', 'range', 'xrange']),
  ...inModules(
    ['builtins', '__builtin__'],
    ['bool', 'int', 'long', 'float', 'str', 'unicode', 'list', 'tuple', 'dict'],
  ),
  ...inModules(['_codecs'], ['encode']), // Bytes, in protocol 2.
  ...inModules(['numpy'], ['dtype', 'ndarray']),
  ...inModules(['numpy.core.multiarray', 'numpy._core.multiarray'], ['scalar', '_reconstruct']),
  ...inModules(['torch'], ['device', 'Size', 'float64', 'float32', 'float16', 'bfloat16']),
  ...inModules(['torch'], ['int64', 'int32', 'int16', 'int8', 'uint8', 'bool']),
  ...inModules(['torch.torch_version'], ['TorchVersion']),
  ...inModules(['easydict'], ['EasyDict']),
  ...inModules(['yacs.config'], ['CfgNode']),
  ...inModules(['omegaconf.dictconfig'], ['DictConfig']),
  ...inModules(['omegaconf.listconfig'], ['ListConfig']),
  ...inModules(['omegaconf.base'], ['ContainerMetadata', 'Metadata']),
  ...inModules(['omegaconf.nodes'], ['AnyNode', 'BooleanNode', 'FloatNode', 'IntegerNode', 'StringNode']),
  ...inModules(['typing'], ['Any']),
  ...inModules(
    [
      'lightning.fabric.utilities.data',
      'lightning_fabric.utilities.data',
      'lightning.pytorch.utilities.parsing',
      'pytorch_lightning.utilities.parsing',
    ],
    ['AttributeDict'],
  ),
]);

function inModules(modules: readonly string[], names: readonly string[]): readonly string[] {
  return modules.flatMap((module) => names.map((name) => `${module}.${name}`));
}
