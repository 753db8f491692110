/**
 * Renders the drawings from which the scenes are composed: every icon that kinds.json names, in every style, trimmed
 * and centred in a square of 192 pixels with transparency, as sprites/STYLE/KIND/ICON.png.
 *
 *     npm ci && npx tsx sprites.ts
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import sharp from 'sharp';

const side = 192;
const folder = import.meta.dirname;
const require = createRequire(import.meta.url);

interface Kind {
  readonly name: string;
  readonly icons: readonly string[];
  readonly fxemoji: readonly string[];
}

/** The part of an Iconify set that drawing needs (https://iconify.design/docs/types/iconify-json.html). */
interface IconSet {
  readonly icons: Readonly<Record<string, { readonly body: string; readonly width?: number; readonly height?: number }>>;
  readonly aliases?: Readonly<Record<string, { readonly parent: string }>>;
  readonly width?: number;
  readonly height?: number;
}

async function json<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, 'utf8')) as T;
}

/** The SVG document of an icon, or `undefined` where the set has no such icon. */
function svg(set: IconSet, name: string): Buffer | undefined {
  const icon = set.icons[set.aliases?.[name]?.parent ?? name];
  if (icon === undefined) return undefined;
  const width = icon.width ?? set.width ?? 16;
  const height = icon.height ?? set.height ?? 16;
  return Buffer.from(
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${2 * side}" height="${2 * side}" viewBox="0 0 ${width} ${height}">${icon.body}</svg>`,
  );
}

/** Scales the part that is not transparent to fill a square along its longer side. */
async function render(drawing: Buffer): Promise<Buffer> {
  const trimmed = await sharp(drawing).ensureAlpha().trim({ background: '#00000000', threshold: 1 }).png().toBuffer();
  return sharp(trimmed).resize(side, side, { fit: 'contain', background: '#00000000' }).png().toBuffer();
}

async function write(style: string, kind: string, icon: string, drawing: Buffer): Promise<void> {
  const target = join(folder, 'sprites', style, kind);
  await mkdir(target, { recursive: true });
  await writeFile(join(target, `${icon}.png`), await render(drawing));
}

async function renderIconSet(style: string, kinds: readonly Kind[]): Promise<number> {
  const set = await json<IconSet>(require.resolve(`@iconify-json/${style}/icons.json`));
  let count = 0;
  for (const kind of kinds) {
    for (const icon of style === 'fxemoji' ? kind.fxemoji : kind.icons) {
      const drawing = svg(set, icon);
      if (drawing === undefined) continue;
      await write(style, kind.name, icon, drawing);
      count += 1;
    }
  }
  return count;
}

/** The pictures of Fluent Emoji in three dimensions are named by code point; Noto's list names the icon of each. */
async function renderFluent3d(kinds: readonly Kind[]): Promise<number> {
  const names = await json<Record<string, string>>(require.resolve('@iconify-json/noto/chars.json'));
  const assets = join(folder, 'node_modules/@lobehub/fluent-emoji-3d/assets');
  let count = 0;
  for (const kind of kinds) {
    for (const [codePoints, icon] of Object.entries(names)) {
      if (!kind.icons.includes(icon)) continue;
      const picture = await readFile(join(assets, `${codePoints}.webp`)).catch(() => undefined);
      if (picture === undefined) continue;
      await write('fluent-emoji-3d', kind.name, icon, picture);
      count += 1;
    }
  }
  return count;
}

await rm(join(folder, 'sprites'), { recursive: true, force: true });
const kinds = await json<Kind[]>(join(folder, 'kinds.json'));
const manifest = await json<{ devDependencies: Record<string, string> }>(join(folder, 'package.json'));
for (const dependency of Object.keys(manifest.devDependencies)) {
  const style = dependency.slice(dependency.indexOf('/') + 1);
  const count = await (style === 'fluent-emoji-3d' ? renderFluent3d(kinds) : renderIconSet(style, kinds));
  process.stdout.write(`${style}: ${count} sprites\n`);
}
