"""Converts a checkpoint for OpenVINO, in float32 and in int8, and checks that float32 answers as torch does.

    pip install -r test/fixtures/requirements.txt openvino==2026.4.1 nncf==3.4.0
    python bench/sides/convert_openvino.py TASK CHECKPOINT FOLDER PICTURES...

Writes FOLDER/float32 and FOLDER/int8, and FOLDER/checked at the end. In int8, the vision model is quantized by
nncf, which runs it on parts of the pictures, and the text models have int8 weights. TASK is captioning, question-answering, retrieval or clip.
"""

import json
import shutil
import sys
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import torch
from openvino_graphs import (
    ClipImage,
    ClipText,
    ImageKeysAndValues,
    MatchProbability,
    NextToken,
    QuestionKeysAndValues,
    converted,
    keep_state,
)
from openvino.preprocess import PrePostProcessor
from openvino_side import OpenVinoSide
from PIL import Image
from pictures import Pictures
from torch_side import TorchSide

TEXT = "two cats on the picture"
CROPS = 2


def names(prefix, values):
    return [f"{prefix}{index}" for index in range(len(values))]


def decoder(model, cross):
    module, ids = NextToken(model.text_decoder, model.config.text_config.sep_token_id), torch.ones(1, 1, dtype=torch.long)
    past = [part[:, :, :3] for part in cross]
    inputs = ["ids", "rows", *names("cross", cross), *names("past", past)]
    heads, features = cross[0].shape[1], cross[0].shape[3]
    dynamic = [[-1, 1], [-1], *[[-1, heads, -1, features] for _ in [*cross, *past]]]
    example = (ids, torch.zeros(1, dtype=torch.int32), *cross, *past)
    return keep_state(converted(module, example, inputs, dynamic), names("past", past))


@torch.no_grad()
def blip(side):
    """The models of a BLIP task, by the names of their files."""
    model, task = side.model, side.task
    text = {"question-answering": QuestionKeysAndValues, "retrieval": MatchProbability}.get(task)
    size = model.config.vision_config.image_size
    pixels, ids = torch.zeros(1, 3, size, size), torch.ones(1, 8, dtype=torch.long)
    vision = ImageKeysAndValues(model.vision_model, model.text_decoder.bert if text is None else model.text_encoder)
    models = {"vision": converted(vision, (pixels,), ["pixels"], [[-1, 3, size, size]])}
    cross = vision(pixels)
    if text is not None:
        dynamic = [[-1, -1], *[[-1, *part.shape[1:]] for part in cross]]
        models["text"] = converted(text(model), (ids, *cross), ["ids", *names("cross", cross)], dynamic)
        cross = text(model)(ids, *cross)
    if task != "retrieval":
        models["decoder"] = decoder(model, cross)
    return models


@torch.no_grad()
def clip(side):
    size = side.model.config.vision_config.image_size
    pixels, ids = torch.zeros(1, 3, size, size), side.token_ids([TEXT])
    return {
        "vision": converted(ClipImage(side.model), (pixels,), ["pixels"], [[-1, 3, size, size]]),
        "text": converted(ClipText(side.model), (ids,), ["ids"], [[-1, -1]]),
    }


def crops(paths):
    """Several parts of each picture, because a quantizer should see more than a few pictures."""
    for path in paths:
        picture = Image.open(path).convert("RGB")
        for part in range(CROPS):
            left, top = part * picture.width // (2 * CROPS), part * picture.height // (2 * CROPS)
            yield picture.crop((left, top, left + picture.width // 2, top + picture.height // 2))


def quantized(name, model, checkpoint, paths):
    if name != "vision":
        return nncf.compress_weights(model)
    pictures = Pictures(checkpoint)
    calibration = nncf.Dataset(list(crops(paths)), lambda picture: {"pixels": pictures.pixels([picture])})
    return nncf.quantize(model, calibration, model_type=nncf.ModelType.TRANSFORMER, subset_size=CROPS * len(paths))


def check(side, folder, paths):
    """Float32 in OpenVINO must give torch's token ids, and its numbers up to rounding."""
    openvino_side = OpenVinoSide(side.task, folder, 2, {"INFERENCE_PRECISION_HINT": "f32"})
    for images in ([], paths[:2]) if side.task == "clip" else (paths[:2],):
        request = {"images": images, "texts": [TEXT, TEXT], "newTokens": 8}
        np.testing.assert_allclose(openvino_side.answer(request), side.answer(request), rtol=1e-3, atol=1e-3)


def write(name, model, checkpoint, target, start_token_id):
    target.mkdir(parents=True, exist_ok=True)
    for file in ("preprocessor_config.json", "tokenizer.json"):
        shutil.copy(Path(checkpoint) / file, target / file)
    (target / "start.json").write_text(json.dumps(start_token_id))
    ov.save_model(model, target / f"{name}.xml", compress_to_fp16=False)


def joined_in_bfloat16(model):
    """The keys and values that models hand on in bfloat16, where OpenVINO computes in it: else it casts them for each token."""
    if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return model
    process = PrePostProcessor(model)
    for index, port in enumerate(model.outputs):
        if len(port.partial_shape) == 4:
            process.output(index).tensor().set_element_type(ov.Type.bf16)
    for index, port in enumerate(model.inputs):
        if port.any_name.startswith("cross"):
            process.input(index).tensor().set_element_type(ov.Type.bf16)
    return process.build()


def main(task, checkpoint, folder, paths):
    side = TorchSide(task, checkpoint, "float32")
    start_token_id = side.model.config.text_config.bos_token_id
    models = (clip if task == "clip" else blip)(side)
    for name, model in models.items():
        write(name, model, checkpoint, folder / "float32", start_token_id)
    check(side, folder / "float32", paths)
    for name, model in models.items():
        int8 = quantized(name, model, checkpoint, paths)
        write(name, joined_in_bfloat16(int8), checkpoint, folder / "int8", start_token_id)
        write(name, joined_in_bfloat16(model), checkpoint, folder / "float32", start_token_id)
    (folder / "checked").write_text(f"openvino {ov.__version__}, nncf {nncf.__version__}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
