"""The grammar of the drawn scenes: the things that a scene may hold, and the true captions, questions and answers about it.

A scene is a background colour and one to four groups of one to four objects, at most four objects in all. The kinds
of a scene differ from group to group. Kinds that come in several colours (`tints` in kinds.json) always carry their
colour in captions; the others never do, whatever colour a style gives them.

    caption    [opening] group {, group} [and group] on a COLOUR background
    opening    "a picture of" | "a photo of" | "a photography of" | "there is" | "there are"
    group      a cat | an octopus | two cats | a red car | three red cars
    side       a cat to the left of a dog on a COLOUR background      (image-text matching only)
    question   see `questions`; answers have one to three words
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

KINDS = {kind["name"]: kind for kind in json.loads((Path(__file__).parent / "kinds.json").read_text())}
NUMBERS = ["zero", "one", "two", "three", "four"]
MAXIMUM_OBJECTS = 4

# hue in degrees, saturation, value: (low, high) of each; ranges are apart so that every colour has one name
BACKGROUNDS = {
    "red": ((-8, 8), (0.75, 1), (0.65, 0.9)),
    "orange": ((24, 34), (0.85, 1), (0.92, 1)),
    "yellow": ((50, 57), (0.65, 1), (0.93, 1)),
    "green": ((100, 140), (0.5, 0.9), (0.45, 0.8)),
    "blue": ((205, 230), (0.55, 0.95), (0.6, 0.95)),
    "purple": ((268, 285), (0.5, 0.9), (0.45, 0.75)),
    "pink": ((328, 346), (0.25, 0.45), (0.95, 1)),
    "brown": ((20, 30), (0.55, 0.75), (0.33, 0.48)),
    "gray": ((0, 360), (0, 0.05), (0.45, 0.65)),
    "black": ((0, 360), (0, 0.2), (0, 0.1)),
    "white": ((0, 360), (0, 0.04), (0.94, 1)),
}
TINTS = {
    "red": ((-6, 6), (0.8, 1), (0.8, 0.95)),
    "orange": ((24, 32), (0.9, 1), (0.95, 1)),
    "yellow": ((50, 57), (0.75, 1), (0.95, 1)),
    "green": ((105, 140), (0.6, 0.9), (0.5, 0.8)),
    "blue": ((208, 230), (0.65, 0.95), (0.7, 0.95)),
    "purple": ((268, 285), (0.55, 0.9), (0.5, 0.75)),
    "pink": ((325, 343), (0.35, 0.55), (0.97, 1)),
}
PLACES = re.compile(r"\b(left|right|top|bottom)\b")
OPENINGS = ["a picture of", "a photo of", "a photography of"]


@dataclass(frozen=True)
class Placed:
    """One object: the centre and the side of its square, as fractions of the picture's side."""

    x: float
    y: float
    side: float


@dataclass(frozen=True)
class Group:
    kind: str
    tint: str | None
    objects: tuple[Placed, ...]


@dataclass(frozen=True)
class Scene:
    background: str
    groups: tuple[Group, ...]


def place(random, count):
    """Finds positions that hardly overlap: circles of the objects' sides may overlap by at most a tenth."""
    low, high = {1: (0.36, 0.72), 2: (0.32, 0.5), 3: (0.3, 0.42), 4: (0.28, 0.38)}[count]
    while True:
        placed = []
        for _ in range(60):
            side = random.uniform(low, high)
            x, y = random.uniform(side / 2, 1 - side / 2), random.uniform(side / 2, 1 - side / 2)
            if all(max(abs(x - o.x), abs(y - o.y)) > 0.45 * (side + o.side) for o in placed):
                placed.append(Placed(x, y, side))
                if len(placed) == count:
                    return placed


def sample_scene(random):
    background = random.choice(list(BACKGROUNDS))
    count = random.choices([1, 2, 3, 4], [2, 3, 3, 3])[0]
    sizes = []
    while sum(sizes) < count:
        sizes.append(random.choices([1, 2, 3, 4], [6, 3, 2, 1])[0])
    sizes[-1] -= sum(sizes) - count
    placed = place(random, count)
    groups = []
    for kind, size in zip(random.sample(list(KINDS), len(sizes)), sizes):
        tints = [tint for tint in KINDS[kind].get("tints", []) if tint != background]
        tint = random.choice(tints) if tints else None
        groups.append(Group(kind, tint, tuple(placed.pop() for _ in range(size))))
    return Scene(background, tuple(groups))


def mirrored(scene):
    """Exchanges left and right in a scene."""
    turned = [replace(group, objects=tuple(replace(each, x=1 - each.x) for each in group.objects)) for group in scene.groups]
    return replace(scene, groups=tuple(turned))


def with_article(words):
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def group_words(kind, tint, count):
    words = KINDS[kind]["plural"] if count > 1 else kind
    if tint:
        words = f"{tint} {words}"
    return f"{NUMBERS[count]} {words}" if count > 1 else with_article(words)


def caption_words(background, groups):
    """Words of a caption for `groups`: (kind, tint, count) in the order in which they are named."""
    phrases = [group_words(*group) for group in groups]
    listed = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return f"{listed} on {with_article(background)} background"


def facts(scene):
    return [(group.kind, group.tint, len(group.objects)) for group in scene.groups]


def captions(scene, random):
    """Makes one caption. Any order of the groups is right, and one in five captions begins with an opening."""
    groups = facts(scene)
    random.shuffle(groups)
    words = caption_words(scene.background, groups)
    draw = random.random()
    if draw < 0.15:
        return f"{random.choice(OPENINGS)} {words}"
    if draw < 0.2:
        return f"{'there is' if groups[0][2] == 1 else 'there are'} {words}"
    return words


def single(scene):
    """Groups of one object, to which "the cat" may refer."""
    return [group for group in scene.groups if len(group.objects) == 1]


def sides(scene):
    """Pairs (left group, right group) of one object each that are clearly apart."""
    groups = single(scene)
    return [(a, b) for a in groups for b in groups if b.objects[0].x - a.objects[0].x > 0.22]


def clear_first(groups, key, margin):
    """The group that comes first by `key`, or nothing when the second is close to it."""
    ordered = sorted(groups, key=key)
    if len(ordered) == 1 or key(ordered[1]) - key(ordered[0]) > margin:
        return ordered[0]
    return None


def place_questions(scene, random):
    """The questions for left, right, top and bottom that a scene allows, as (question, answer)."""
    possible = []
    pairs = sides(scene)
    alone = single(scene)
    if pairs:
        left, right = random.choice(pairs)
        if sum(1 for other in scene.groups for o in other.objects if o.x < right.objects[0].x + 0.02) == 2:
            possible += [(f"what is {random.choice(['left of', 'to the left of'])} the {right.kind}?", left.kind)] * 2
        if sum(1 for other in scene.groups for o in other.objects if o.x > left.objects[0].x - 0.02) == 2:
            possible += [(f"what is {random.choice(['right of', 'to the right of'])} the {left.kind}?", right.kind)] * 2
        possible.append((f"is the {left.kind} left of the {right.kind}?", "yes"))
        possible.append((f"is the {right.kind} left of the {left.kind}?", "no"))
    if len(alone) == len(scene.groups) > 1:
        for words, key, margin in [
            ("on the left", lambda g: g.objects[0].x, 0.12),
            ("on the right", lambda g: -g.objects[0].x, 0.12),
            ("at the top", lambda g: g.objects[0].y, 0.12),
            ("at the bottom", lambda g: -g.objects[0].y, 0.12),
        ]:
            first = clear_first(alone, key, margin)
            if first:
                possible.append((f"{random.choice(['what', 'which one'])} is {words}?", first.kind))
    return possible


def more_place_questions(scene, random):
    """Further ones, which the evaluation does not ask: whether a thing is to the right of another, above it or below it."""
    possible = []
    alone = single(scene)
    for a in alone:
        for b in alone:
            if b.objects[0].x - a.objects[0].x > 0.22:
                possible += [(f"is the {b.kind} {words} of the {a.kind}?", "yes") for words in ("right", "to the right")]
                possible += [(f"is the {a.kind} {words} of the {b.kind}?", "no") for words in ("right", "to the right")]
                possible += [(f"is the {a.kind} to the left of the {b.kind}?", "yes"), (f"is the {b.kind} to the left of the {a.kind}?", "no")]
            if b.objects[0].y - a.objects[0].y > 0.22:
                possible += [(f"is the {a.kind} above the {b.kind}?", "yes"), (f"is the {b.kind} above the {a.kind}?", "no")]
                possible += [(f"is the {b.kind} below the {a.kind}?", "yes"), (f"is the {a.kind} below the {b.kind}?", "no")]
    return possible


def asked(scene, random, place_share):
    """One (question, answer, whether it is about a place); `place_share` of the questions are, where the scene allows it."""
    if random.random() < place_share:
        usual, further = place_questions(scene, random), more_place_questions(scene, random)
        possible = further if further and random.random() < 0.3 else usual
        if possible:
            return *random.choice(possible), True
    question, answer = questions(scene, random)
    return question, answer, bool(PLACES.search(question))


def questions(scene, random):
    """One (question, answer)."""
    absent = random.choice([kind for kind in KINDS if all(kind != group.kind for group in scene.groups)])
    group = random.choice(scene.groups)
    plural = KINDS[group.kind]["plural"]
    total = sum(len(each.objects) for each in scene.groups)
    everywhere = random.choice(["", "", " in the picture", " in the image"])
    possible = [
        (f"how many {plural} are there{everywhere}?", NUMBERS[len(group.objects)]),
        (f"how many {plural} are {random.choice(['in the picture', 'in the image', 'there'])}?", NUMBERS[len(group.objects)]),
        (f"how many {KINDS[absent]['plural']} are there{everywhere}?", "zero"),
        (f"how many objects are there{everywhere}?", NUMBERS[total]),
        (f"what {random.choice(['color', 'colour'])} is the background?", scene.background),
        (f"is there {with_article(group.kind)}{everywhere}?", "yes"),
        (f"is there {with_article(absent)}{everywhere}?", "no"),
        (f"are there any {random.choice([plural, KINDS[absent]['plural']])}{everywhere}?", None),
    ]
    question, answer = possible[-1]
    possible[-1] = (question, "yes" if plural in question.split() or plural in question.replace("?", " ").split() else "no")
    tinted = [each for each in scene.groups if each.tint]
    if tinted:
        each = random.choice(tinted)
        verb, word = ("is", each.kind) if len(each.objects) == 1 else ("are", KINDS[each.kind]["plural"])
        colour = random.choice(["color", "colour"])
        possible += [(f"what {colour} {verb} the {word}?", each.tint)] * 3
        possible.append((f"which one is {each.tint}?", each.kind) if len(tinted) == 1 or sum(o.tint == each.tint for o in tinted) == 1 else (f"what {colour} {verb} the {word}?", each.tint))
    if len(scene.groups) == 1:
        possible += [(f"what is {random.choice(['this', 'in the picture', 'in the image'])}?", group_words(group.kind, group.tint, len(group.objects)))]
    possible += place_questions(scene, random)
    alone = single(scene)
    if len(alone) > 1:
        a, b = random.sample(alone, 2)
        if max(a.objects[0].side, b.objects[0].side) > 1.25 * min(a.objects[0].side, b.objects[0].side):
            bigger = a if a.objects[0].side > b.objects[0].side else b
            smaller = b if bigger is a else a
            possible.append((f"which one is bigger, the {a.kind} or the {b.kind}?", bigger.kind))
            possible.append((f"which one is smaller, the {a.kind} or the {b.kind}?", smaller.kind))
    return random.choice(possible)


def matching_pair(scene, random, side_share=0.3):
    """Makes (a true caption, a subtly wrong one, the kind of its error). `side_share` of the errors exchange sides, if possible."""
    pairs = sides(scene)
    if pairs and random.random() < side_share:
        left, right = random.choice(pairs)
        a, b = group_words(left.kind, left.tint, 1), group_words(right.kind, right.tint, 1)
        place_words = f"on {with_article(scene.background)} background"
        if random.random() < 0.5:
            return f"{a} to the left of {b} {place_words}", f"{b} to the left of {a} {place_words}", "side"
        return f"{b} to the right of {a} {place_words}", f"{a} to the right of {b} {place_words}", "side"
    groups = facts(scene)
    random.shuffle(groups)
    index = random.randrange(len(groups))
    kind, tint, count = groups[index]
    background = scene.background
    wrong = random.choice(["count", "kind", "colour"])
    changed = list(groups)
    if wrong == "count":
        changed[index] = (kind, tint, random.choice([n for n in (1, 2, 3, 4) if abs(n - count) == 1]))
    elif wrong == "kind":
        present = {group[0] for group in groups}
        other = random.choice([name for name in KINDS if name not in present and bool(KINDS[name].get("tints")) == bool(tint)
                               and (not tint or tint in KINDS[name]["tints"])])
        changed[index] = (other, tint, count)
    elif tint and random.random() < 0.7:
        changed[index] = (kind, random.choice([each for each in KINDS[kind]["tints"] if each != tint]), count)
    else:
        background = random.choice([each for each in BACKGROUNDS if each != background])
    return caption_words(scene.background, groups), caption_words(background, changed), wrong


def vocabulary():
    """Every word of the grammar, sorted, and single letters, so that other words are spelled and not lost."""
    words = set("a an and are any at background big bigger bottom color colour how image in is it left many no objects of on one or "
                "photo photography picture right smaller the there this to top what which with yes".split())
    words |= set(NUMBERS) | set(BACKGROUNDS) | set(TINTS)
    for kind in KINDS.values():
        words |= {kind["name"], kind["plural"]}
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [str(digit) for digit in range(10)]
    pieces = [letter for letter in letters if letter not in words] + [f"##{letter}" for letter in letters]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *",.?!'-:", *pieces, *sorted(words), "[DEC]", "[ENC]"]
