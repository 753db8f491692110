"""Draws scenes: sprites (rendered by sprites.ts) on a background, with the light, noise and compression of photographs."""

import colorsys
import io
from pathlib import Path

import numpy
from PIL import Image, ImageFilter

from scene_grammar import BACKGROUNDS, TINTS

FOLDER = Path(__file__).parent / "sprites"
UNSEEN_STYLE = "fxemoji"
SILHOUETTES = "fluent-emoji-high-contrast"
SIDE = 128
SPRITE_SIDE = 72
NOISE = numpy.random.default_rng(0).standard_normal((16, SIDE, SIDE, 3), numpy.float32)


def colour(random, ranges):
    (h0, h1), (s0, s1), (v0, v1) = ranges
    rgb = colorsys.hsv_to_rgb(random.uniform(h0, h1) / 360 % 1, random.uniform(s0, s1), random.uniform(v0, v1))
    return numpy.array(rgb, numpy.float32) * 255


class Sprites:
    """The drawings of some styles: `options[kind]` lists (style, RGBA picture)."""

    def __init__(self, styles, side=SPRITE_SIDE):
        self.options = {}
        for path in sorted(FOLDER.glob("*/*/*.png")):
            style, kind = path.parts[-3:-1]
            if style in styles:
                picture = Image.open(path).convert("RGBA").resize((side, side), Image.Resampling.BOX)
                self.options.setdefault(kind, []).append((style, numpy.asarray(picture)))

    @staticmethod
    def training():
        styles = sorted(path.name for path in FOLDER.iterdir() if path.name != UNSEEN_STYLE)
        assert styles, "no sprites: run sprites.ts first"
        return Sprites(styles)


def tinted(sprite, target):
    """Gives a drawing one colour, and keeps its light and dark."""
    rgb, alpha = sprite[..., :3].astype(numpy.float32), sprite[..., 3:]
    light = rgb @ numpy.array([0.3, 0.59, 0.11], numpy.float32)
    opaque = alpha[..., 0] > 128
    middle = max(float(numpy.median(light[opaque])), 1.0)
    relative = (light / middle)[..., None]
    shaded = numpy.where(relative <= 1, target * relative, target + (255 - target) * numpy.minimum(relative - 1, 1) * 0.8)
    return numpy.concatenate([shaded.clip(0, 255).astype(numpy.uint8), alpha], -1)


def filled(sprite, target):
    """Fills a silhouette with a colour, because it has no light and dark to keep."""
    return numpy.concatenate([numpy.broadcast_to(target, (*sprite.shape[:2], 3)).astype(numpy.uint8), sprite[..., 3:]], -1)


def restyled(sprite, random, keep_colour):
    """Redraws a thing as if by another hand: other colours and contrast, an outline, flat areas, a slant, a stretch."""
    rgb, alpha = sprite[..., :3].astype(numpy.float32), sprite[..., 3:]
    if not keep_colour:
        draw = random.random()
        if draw < 0.15:
            grey = rgb.mean(-1, keepdims=True)
            rgb = grey + (rgb - grey) * random.uniform(0, 0.6)
        elif draw < 0.3:
            rgb = rgb[..., random.choice([(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 1, 0), (2, 0, 1)])]
        elif draw < 0.65:
            mix = numpy.eye(3, dtype=numpy.float32) + numpy.array([random.gauss(0, 0.16) for _ in range(9)], numpy.float32).reshape(3, 3)
            rgb = rgb @ mix
        rgb = rgb * numpy.array([random.uniform(0.8, 1.2) for _ in range(3)], numpy.float32)
    if random.random() < 0.5:
        rgb = 255 * (rgb.clip(0, 255) / 255) ** random.uniform(0.6, 1.6)
    if random.random() < 0.25:
        steps = random.choice([48, 64, 96])
        rgb = numpy.round(rgb / steps) * steps
    picture = Image.fromarray(numpy.concatenate([rgb.clip(0, 255).astype(numpy.uint8), alpha], -1), "RGBA")
    if random.random() < 0.3:
        mask = picture.getchannel("A").filter(ImageFilter.MaxFilter(random.choice([3, 5])))
        shade = random.choice([0, 20, 40, 255]) if not keep_colour else random.choice([0, 20, 40])
        outline = Image.new("RGBA", picture.size, (shade, shade, shade, 255))
        outline.putalpha(mask)
        outline.alpha_composite(picture)
        picture = outline
    if random.random() < 0.7:
        picture = warped(picture, random)
    if random.random() < 0.2:
        small = random.randrange(20, 40)
        picture = picture.resize((small, small)).resize((SPRITE_SIDE, SPRITE_SIDE), Image.Resampling.BILINEAR)
    return numpy.asarray(picture)


def warped(picture, random):
    """Moves the corners and bends the drawing: it is cut in a mesh of three by three whose knots move a little."""
    side = picture.size[0]
    amount = side * 0.07
    knots = {(i, j): (side * i / 3 + random.uniform(-amount, amount), side * j / 3 + random.uniform(-amount, amount))
             for i in range(4) for j in range(4)}
    mesh = []
    for i in range(3):
        for j in range(3):
            box = (side * i // 3, side * j // 3, side * (i + 1) // 3, side * (j + 1) // 3)
            mesh.append((box, (*knots[i, j], *knots[i, j + 1], *knots[i + 1, j + 1], *knots[i + 1, j])))
    return picture.transform(picture.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


class Restyled:
    """A store of restyled drawings that slowly changes, because restyling each object anew would cost more than training."""

    def __init__(self, random, renewed=0.07, kept=24):
        self.random, self.renewed, self.kept, self.store = random, renewed, kept, {}

    def __call__(self, key, sprite, keep_colour):
        variants = self.store.setdefault(key, [])
        if len(variants) < 2 or self.random.random() < self.renewed:
            variant = restyled(sprite, self.random, keep_colour)
            if len(variants) < self.kept:
                variants.append(variant)
            else:
                variants[self.random.randrange(self.kept)] = variant
            return variant
        return self.random.choice(variants)


def background(random, name, side):
    base = colour(random, BACKGROUNDS[name])
    canvas = numpy.empty((side, side, 3), numpy.float32)
    canvas[:] = base
    draw = random.random()
    if draw < 0.4:
        angle = random.uniform(0, 2 * numpy.pi)
        ramp = numpy.linspace(-1, 1, side, dtype=numpy.float32)
        slope = ramp[None, :] * numpy.cos(angle) + ramp[:, None] * numpy.sin(angle)
        canvas *= (1 + slope * random.uniform(0, 0.12))[..., None].astype(numpy.float32)
    elif draw < 0.65:
        coarse = numpy.array([random.uniform(-1, 1) for _ in range(25)], numpy.float32).reshape(5, 5)
        soft = numpy.asarray(Image.fromarray(coarse, "F").resize((side, side), Image.Resampling.BICUBIC))
        canvas += (soft * random.uniform(2, 14))[..., None]
    elif draw < 0.75:
        period = random.randrange(6, 24)
        stripes = (numpy.arange(side) * SIDE // side // period % 2).astype(numpy.float32) - 0.5
        canvas += (stripes[:, None] if random.random() < 0.5 else stripes[None, :])[..., None] * random.uniform(4, 16)
    return canvas.clip(0, 255)


def draw_object(canvas, sprite, placed, random):
    whole = canvas.size[0]
    side = max(8, round(placed.side * whole))
    picture = Image.fromarray(sprite, "RGBA")
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.7:
        picture = picture.rotate(random.uniform(-25, 25), Image.Resampling.BILINEAR)
    picture = picture.resize((side, side), Image.Resampling.BOX if side < len(sprite) else Image.Resampling.BILINEAR)
    corner = (round(placed.x * whole - side / 2), round(placed.y * whole - side / 2))
    if random.random() < 0.3:
        shadow = picture.getchannel("A").point(lambda a: a * 0.35)
        offset = (corner[0] + random.randrange(1, 4), corner[1] + random.randrange(1, 4))
        canvas.paste((0, 0, 0), offset, shadow)
    canvas.paste(picture, corner, picture)


def photographed(canvas, random):
    """Applies light, blur, noise and JPEG, each to some pictures."""
    if random.random() < 0.1:
        canvas = canvas.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.0)))
    pixels = numpy.asarray(canvas, numpy.float32)
    if random.random() < 0.6:
        pixels = pixels * random.uniform(0.88, 1.1)
    if random.random() < 0.4:
        noise = NOISE[random.randrange(len(NOISE))]
        noise = numpy.roll(noise, (random.randrange(SIDE), random.randrange(SIDE)), (0, 1))
        pixels = pixels + noise * random.uniform(1, 9)
    canvas = Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))
    if random.random() < 0.5:
        stored = io.BytesIO()
        canvas.save(stored, "JPEG", quality=random.randrange(40, 96))
        canvas = Image.open(stored).convert("RGB")
    return canvas


def draw(scene, sprites, random, restyle=None, side=SIDE):
    """Draws a picture of `side` x `side` pixels. `restyle` redraws each sprite; without it the styles stay unchanged."""
    canvas = Image.fromarray(background(random, scene.background, side).astype(numpy.uint8))
    one_style = random.random() < 0.6
    style = None
    for group in scene.groups:
        options = sprites.options[group.kind]
        if one_style and style:
            options = [option for option in options if option[0] == style] or options
        chosen = random.randrange(len(options))
        for placed in group.objects:
            if random.random() < 0.25:
                chosen = random.randrange(len(options))
            style, sprite = options[chosen]
            key = (group.kind, style, chosen, len(options), group.tint)
            target = colour(random, TINTS[group.tint]) if group.tint else None
            if style == SILHOUETTES:
                if target is None:
                    dark = scene.background not in ("black", "brown", "purple", "blue", "green", "red", "gray")
                    target = colour(random, ((0, 360), (0, 1), (0, 0.4)) if dark else ((0, 360), (0, 0.5), (0.85, 1)))
                sprite = filled(sprite, target)
                key = (*key, random.randrange(4), scene.background)
            elif target is not None:
                sprite = tinted(sprite, target)
            if restyle:
                sprite = restyle(key, sprite, group.tint is not None)
            draw_object(canvas, sprite, placed, random)
    return photographed(canvas, random) if side == SIDE else canvas
