import { createHash } from 'node:crypto';
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import Handler from '../../../app.ts';
import { findTensor, openWeights } from '../../../checkpoint/weights/weights.ts';
import { readSettings } from '../../../pipeline/settings.ts';
import { type CheckpointName, checkpointFolder, imagePath } from '../../support/goldens.ts';
import { pickle, stateDict, tensor } from '../../support/pickle-bytes.ts';
import { safetensorsBytes } from '../../support/safetensors-file.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { expectCheckpointError } from '../../support/thrown.ts';
import { torchArchive, torchArchivePath } from '../../support/torch-archive-file.ts';

const INDEX = 'model.safetensors.index.json';
const TORCH_INDEX = 'pytorch_model.bin.index.json';

/** A shard with one tensor of four bytes. */
function shard(tensor: string): Buffer {
  return safetensorsBytes({ header: { [tensor]: { dtype: 'U8', shape: [2, 2], data_offsets: [0, 4] } }, dataBytes: 4 });
}

/** Shards of archives of torch. */
function torchShard(name: string): Buffer {
  return torchArchive(pickle(stateDict({ [name]: tensor() })));
}

function index(weightMap: unknown): string {
  return JSON.stringify({ metadata: { total_size: 8 }, weight_map: weightMap });
}

/** Captions the smallest picture with a checkpoint folder, through the handler. */
async function captionWith(folder: string): Promise<string | readonly string[] | undefined> {
  const environment = { BLIP_CHECKPOINT: folder, BLIP_EXECUTION_PROVIDER: 'cpu', BLIP_THREADS: '1' };
  const model = new Handler(readSettings({ environment, shippedCheckpoint: folder }));
  await model.initialize();
  const image = `data:;base64,${readFileSync(imagePath('small')).toString('base64')}`;
  const { generated_output } = await model.infer({ img_url: image, text: 'a picture of' });
  await model.finalize();
  return generated_output;
}

describe('shards', () => {
  test('every tensor of the index is found in its shard', () => {
    const folder = checkpointFolder('sharded-float16');
    const weights = openWeights(folder);
    const { weight_map: weightMap } = JSON.parse(readFileSync(join(folder, INDEX), 'utf8')) as {
      weight_map: Record<string, string>;
    };
    const places = [...weights.regions.values()].map(({ name, path }) => [name, basename(path)]);
    expect(places.length).toBeGreaterThan(50);
    expect(Object.fromEntries(places)).toEqual(weightMap);
    expect(weights.dataFolder).toBe(folder);
  });

  test('a tensor that a shard has and the index does not name is left out', () => {
    const header = {
      first: { dtype: 'U8', shape: [1], data_offsets: [0, 1] },
      second: { dtype: 'U8', shape: [1], data_offsets: [1, 2] },
    };
    const folder = temporaryFolder({
      [INDEX]: index({ second: 'only.safetensors' }),
      'only.safetensors': safetensorsBytes({ header, dataBytes: 2 }),
    });
    expect([...openWeights(folder).regions.keys()]).toEqual(['second']);
  });

  test('a shard that is not there is named, with the index that names it', () => {
    const folder = temporaryFolder({
      [INDEX]: index({ first: 'one.safetensors', second: 'two.safetensors' }),
      'one.safetensors': shard('first'),
    });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      join(folder, INDEX),
      'the shard two.safetensors',
      'got no such file',
    ]);
  });

  test.each([
    '../one.safetensors',
    'shards/../../one.safetensors',
    'shards/one.safetensors',
    '/etc/one.safetensors',
    '..',
    '.',
    '',
    'one.safetensors:other',
    'shards\\one.safetensors',
    'one.safetensors\0',
  ])('a shard at %j is refused, even where there is such a file', (file) => {
    const outside = temporaryFolder({
      'one.safetensors': shard('first'),
      'inner/shards/one.safetensors': shard('first'),
    });
    const folder = join(outside, 'inner');
    writeFileSync(join(folder, INDEX), index({ first: file }));
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      join(folder, INDEX),
      'first to lie in a file of the same folder',
      `got ${JSON.stringify(file)}`,
    ]);
  });

  test('a shard that is not named by text is refused', () => {
    const folder = temporaryFolder({ [INDEX]: index({ first: 1 }), '1': shard('first') });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      join(folder, INDEX),
      'first',
      'got 1',
    ]);
  });

  test('a tensor that its shard lacks is named', () => {
    const folder = temporaryFolder({
      [INDEX]: index({ first: 'one.safetensors', second: 'one.safetensors' }),
      'one.safetensors': shard('first'),
    });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      join(folder, INDEX),
      'tensor second in one.safetensors',
      'got none',
    ]);
  });

  test('a shard that is broken is named', () => {
    const folder = temporaryFolder({ [INDEX]: index({ first: 'one.safetensors' }), 'one.safetensors': 'short' });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      join(folder, 'one.safetensors'),
      'got 5',
    ]);
  });

  test.each([
    ['a list', '{"weight_map":[]}', 'a list of 0'],
    ['null', '{"weight_map":null}', 'null'],
    ['text', '{"weight_map":"model.safetensors"}', '"model.safetensors"'],
    ['missing', '{"metadata":{}}', 'nothing'],
  ])('a weight_map that is %s is refused', (_, text, got) => {
    const folder = temporaryFolder({ [INDEX]: text });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      join(folder, INDEX),
      'weight_map to be an object',
      `got ${got}`,
    ]);
  });

  test('an index that is not JSON is refused', () => {
    const folder = temporaryFolder({ [INDEX]: '{"weight_map":' });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      join(folder, INDEX),
      'expected JSON',
    ]);
  });
});

describe('shards of torch', () => {
  test('every tensor of the index is found in its shard', () => {
    const folder = dirname(torchArchivePath(`sharded-float16/${TORCH_INDEX}`));
    const weights = openWeights(folder);
    const { weight_map: weightMap } = JSON.parse(readFileSync(join(folder, TORCH_INDEX), 'utf8')) as {
      weight_map: Record<string, string>;
    };
    const places = [...weights.regions.values()].map(({ name, path }) => [name, basename(path)]);
    expect(places.length).toBeGreaterThan(50);
    expect(Object.fromEntries(places)).toEqual(weightMap);
    expect(weights.dataFolder).toBe(folder);
  });

  test('a shard that is not there is named, with the index that names it', () => {
    const folder = temporaryFolder({ [TORCH_INDEX]: index({ first: 'one.bin' }) });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      `${join(folder, TORCH_INDEX)}: expected the shard one.bin beside it, got no such file.`,
    ]);
  });

  test('a tensor that its shard lacks is named', () => {
    const folder = temporaryFolder({
      [TORCH_INDEX]: index({ first: 'one.bin', second: 'one.bin' }),
      'one.bin': torchShard('first'),
    });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      `${join(folder, TORCH_INDEX)}: expected tensor second in one.bin, got none.`,
    ]);
  });

  test('a shard that is no archive of torch is named', () => {
    const folder = temporaryFolder({
      [TORCH_INDEX]: index({ first: 'one.safetensors' }),
      'one.safetensors': shard('first'),
    });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      join(folder, 'one.safetensors'),
      'expected a zip archive',
    ]);
  });
});

describe('names of original checkpoints', () => {
  function openTensors(names: readonly string[]) {
    const tensors = Object.fromEntries(names.map((name) => [name, tensor()]));
    return openWeights(temporaryFolder({ 'pytorch_model.bin': torchArchive(pickle(stateDict(tensors))) }));
  }

  test('a tensor goes by its name in transformers, and messages have its name in the file', () => {
    const weights = openTensors(['visual_encoder.norm.weight', 'text_decoder.bert.embeddings.LayerNorm.weight']);
    const [name] = weights.regions.keys();
    expect(name).toBe('vision_model.post_layernorm.weight');
    expect(findTensor(weights, ['vision_model.post_layernorm.weight'], [2, 3]).name).toBe('visual_encoder.norm.weight');
    expectCheckpointError(
      () => findTensor(weights, ['vision_model.post_layernorm.weight'], [6]),
      'CHECKPOINT_TENSOR_MISMATCH',
      ['tensor visual_encoder.norm.weight: expected shape [6], got [2, 3].'],
    );
  });

  test('two names that mean the same are refused', () => {
    const names = ['visual_encoder.norm.weight', 'vision_model.post_layernorm.weight'];
    expectCheckpointError(() => openTensors(names), 'CHECKPOINT_WEIGHTS_INVALID', [
      'tensor vision_model.post_layernorm.weight: expected a name of its own',
      'got one that means the same as visual_encoder.norm.weight.',
    ]);
  });
});

describe('the files of the weights', () => {
  test('a folder with none of the files is refused, and all names are given', () => {
    const folder = temporaryFolder({ 'model.bin': 'PK' });
    const names = `model.safetensors, ${INDEX}, pytorch_model.bin or pytorch_model.bin.index.json`;
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [
      `${folder}: expected ${names}, got model.bin; give it one of these names if it is the model.`,
    ]);
    const empty = temporaryFolder({ 'readme.txt': '' });
    expectCheckpointError(() => openWeights(empty), 'CHECKPOINT_WEIGHTS_INVALID', [`expected ${names}, got none.`]);
    const adapter = temporaryFolder({ 'adapter_model.safetensors': '' });
    expectCheckpointError(() => openWeights(adapter), 'CHECKPOINT_WEIGHTS_INVALID', ['got an adapter alone; blip-']);
  });

  test.each([
    ['tf_model.h5', 'weights of TensorFlow'],
    ['flax_model.msgpack', 'weights of Flax'],
    ['model.onnx', 'a graph of ONNX'],
    ['model.gguf', 'weights of llama.cpp'],
    ['model.safetensors.incomplete', 'a download that did not end'],
  ])('a folder that has %s alone says what it is', (file, what) => {
    const folder = temporaryFolder({ [file]: 'x', 'training_args.bin': 'x' });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_WEIGHTS_INVALID', [`got ${file}, ${what}.`]);
  });

  test('safetensors come before archives of torch, and one file before shards', () => {
    const files = [
      ['model.safetensors', shard('model.safetensors')],
      [INDEX, index({ [INDEX]: 'model-1.safetensors' })],
      ['pytorch_model.bin', torchShard('pytorch_model.bin')],
      [TORCH_INDEX, index({ [TORCH_INDEX]: 'pytorch_model-1.bin' })],
    ] as const;
    const parts = { 'model-1.safetensors': shard(INDEX), 'pytorch_model-1.bin': torchShard(TORCH_INDEX) };
    for (const [first, [name]] of files.entries()) {
      const folder = temporaryFolder({ ...Object.fromEntries(files.slice(first)), ...parts });
      expect([...openWeights(folder).regions.keys()]).toEqual([name]);
    }
  });

  test('shards behind symlinks into several folders have the folder that holds them all', () => {
    const root = temporaryFolder({ 'blobs/a/one': shard('first'), 'blobs/b/two': shard('second') });
    const folder = join(root, 'snapshot');
    mkdirSync(folder);
    writeFileSync(join(folder, INDEX), index({ first: 'one.safetensors', second: 'two.safetensors' }));
    symlinkSync('../blobs/a/one', join(folder, 'one.safetensors'));
    symlinkSync('../blobs/b/two', join(folder, 'two.safetensors'));
    const weights = openWeights(folder);
    expect(weights).toMatchObject({ folder, dataFolder: join(root, 'blobs') });
    expect([...weights.regions.values()].map(({ path }) => path)).toEqual([
      join(root, 'blobs/a/one'),
      join(root, 'blobs/b/two'),
    ]);
  });

  test('folders whose names begin alike have no more in common than their parent', () => {
    const root = temporaryFolder({ 'blobs-1/one': shard('first'), 'blobs-2/two': shard('second') });
    const folder = join(root, 'snapshot');
    mkdirSync(folder);
    writeFileSync(join(folder, INDEX), index({ first: 'one', second: 'two' }));
    symlinkSync('../blobs-1/one', join(folder, 'one'));
    symlinkSync('../blobs-2/two', join(folder, 'two'));
    expect(openWeights(folder).dataFolder).toBe(root);
  });

  test('a symlink that leads to itself is refused', () => {
    const folder = temporaryFolder();
    symlinkSync('model.safetensors', join(folder, 'model.safetensors'));
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_FILE_UNREADABLE', [
      join(folder, 'model.safetensors'),
      'ELOOP',
    ]);
  });

  test('a folder by the name of the weights file is refused', () => {
    const folder = temporaryFolder({ 'model.safetensors/readme.txt': '' });
    expectCheckpointError(() => openWeights(folder), 'CHECKPOINT_FILE_UNREADABLE', [
      join(folder, 'model.safetensors'),
      'got a folder',
    ]);
  });
});

describe('looking up a tensor', () => {
  function twoTensors() {
    const header = {
      'word_embeddings.weight': { dtype: 'F32', shape: [4, 2], data_offsets: [0, 32] },
      'decoder.bias': { dtype: 'F32', shape: [4], data_offsets: [32, 48] },
    };
    return openWeights(temporaryFolder({ 'model.safetensors': safetensorsBytes({ header, dataBytes: 48 }) }));
  }

  test('finds the first of its names that is there', () => {
    const found = findTensor(twoTensors(), ['decoder.weight', 'word_embeddings.weight', 'decoder.bias'], [4, 2]);
    expect(found.name).toBe('word_embeddings.weight');
  });

  test('names all names and the shape when there is none', () => {
    const weights = twoTensors();
    expectCheckpointError(() => findTensor(weights, ['cls.bias', 'head.bias'], [4]), 'CHECKPOINT_TENSOR_MISSING', [
      weights.folder,
      'expected a tensor cls.bias or head.bias [4]',
      'got none',
    ]);
  });

  test.each([
    ['another size', [4, 3]],
    ['the sizes the other way round', [2, 4]],
    ['one dimension fewer', [4]],
    ['one dimension more', [4, 2, 1]],
  ])('names file, tensor and both shapes where %s was expected', (_, shape) => {
    const weights = twoTensors();
    expectCheckpointError(() => findTensor(weights, ['word_embeddings.weight'], shape), 'CHECKPOINT_TENSOR_MISMATCH', [
      join(weights.folder, 'model.safetensors'),
      'tensor word_embeddings.weight',
      `expected shape [${shape.join(', ')}]`,
      'got [4, 2]',
    ]);
  });
});

describe('captions from folders as users have them', () => {
  /** The folder as huggingface_hub lays it out: snapshots of symlinks into blobs that are named by their hashes. */
  function hubCache(name: CheckpointName): string {
    const cache = temporaryFolder();
    const [blobs, snapshot] = [
      join(cache, 'blobs'),
      join(cache, 'snapshots', 'e1c8dfd0a31e6cbb1bd9d3e1a5b9a4f5a2f4a0c7'),
    ];
    mkdirSync(blobs, { recursive: true });
    mkdirSync(snapshot, { recursive: true });
    for (const file of readdirSync(checkpointFolder(name))) {
      const content = readFileSync(join(checkpointFolder(name), file));
      const hash = createHash('sha256').update(content).digest('hex');
      writeFileSync(join(blobs, hash), content);
      symlinkSync(join('..', '..', 'blobs', hash), join(snapshot, file));
    }
    return snapshot;
  }

  test.each(['narrow-vision', 'sharded-float16'] as const)('%s in the cache of the Hub', async (name) => {
    const folder = hubCache(name);
    expect(openWeights(folder).dataFolder).toBe(join(dirname(dirname(folder)), 'blobs'));
    const caption = await captionWith(folder);
    expect(caption).toMatch(/^a picture of ./);
    expect(caption).toBe(await captionWith(checkpointFolder(name)));
  });

  test('a read-only folder, in which nothing is created or changed', async () => {
    const folder = join(temporaryFolder(), 'checkpoint');
    cpSync(checkpointFolder('narrow-vision'), folder, { recursive: true });
    const files = () =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .sort()
        .map((file) => {
          const path = join(folder, file);
          const { mtimeMs, ctimeMs, mode, size } = statSync(path);
          return {
            file,
            mtimeMs,
            ctimeMs,
            mode,
            size,
            hash: createHash('sha256').update(readFileSync(path)).digest('hex'),
          };
        });
    for (const file of readdirSync(folder)) chmodSync(join(folder, file), 0o444);
    chmodSync(folder, 0o555);
    onTestFinished(() => chmodSync(folder, 0o755));
    const [before, folderBefore] = [files(), statSync(folder)];
    expect(await captionWith(folder)).toMatch(/^a picture of ./);
    expect(files()).toEqual(before);
    expect(statSync(folder).mtimeMs).toBe(folderBefore.mtimeMs);
  });
});
