"""OpenVINO, a side of bench/compare.ts and bench/family.ts.

    pip install openvino==2026.4.1 pillow tokenizers
    python bench/sides/openvino_side.py TASK FOLDER THREADS [REQUEST]

FOLDER is one that convert_openvino.py wrote. OpenVINO chooses the precision in which it computes, and keeps compiled
models in FOLDER/cache for the next start. line_protocol.py describes requests.
"""

import json
import sys
from pathlib import Path

import numpy as np
import openvino as ov
from line_protocol import serve, texts_of
from PIL import Image
from pictures import Pictures, token_ids


class OpenVinoSide:
    def __init__(self, task, folder, threads, settings):
        self.folder, self.task, self.pictures = Path(folder), task, Pictures(folder)
        self.start_token_id = json.loads((self.folder / "start.json").read_text())
        self.core = ov.Core()
        self.core.set_property("CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, **settings})
        self.requests = {file.stem: self.open(file) for file in sorted(self.folder.glob("*.xml"))}

    def open(self, file):
        return self.core.compile_model(file, "CPU").create_infer_request()

    @property
    def precision(self):
        model = next(iter(self.requests.values())).get_compiled_model()
        return model.get_property("INFERENCE_PRECISION_HINT").get_type_name()

    def share(self, name, cross):
        """Lets a model read the outputs of another one where they are, without a copy."""
        for index, tensor in enumerate(cross):
            self.requests[name].set_tensor(f"cross{index}", tensor)

    def run(self, name, inputs):
        self.requests[name].infer(inputs, share_inputs=True)
        return self.requests[name].output_tensors

    def answer(self, request):
        """A row of numbers for each image; for each text where there are no images."""
        if not request["images"]:
            return self.text(texts_of(request))[0].data.tolist()
        states = self.run("vision", {"pixels": self.pictures.pixels(map(Image.open, request["images"]))})
        if self.task == "clip":
            return states[0].data.tolist()
        if "text" in self.requests:
            self.share("text", states)
            states = self.text(texts_of(request))
        if self.task == "retrieval":
            return states[0].data.tolist()
        return self.generated(len(request["images"]), request["newTokens"], states)

    def text(self, texts):
        return self.run("text", {"ids": token_ids(self.folder, texts)})

    def generated(self, rows, new_tokens, cross):
        """Greedy token ids [rows, 1 + new tokens], the start token first."""
        self.requests["decoder"].reset_state()
        self.share("decoder", cross)
        ids, order = [np.full((rows, 1), self.start_token_id, np.int64)], np.arange(rows, dtype=np.int32)
        for _ in range(new_tokens):
            ids.append(self.run("decoder", {"ids": ids[-1], "rows": order})[0].data.copy())
        return np.concatenate(ids, 1).tolist()


if __name__ == "__main__":
    task, folder, threads, *request = sys.argv[1:]
    side = OpenVinoSide(task, folder, int(threads), {"CACHE_DIR": f"{folder}/cache"})
    serve(side.answer, {"precision": side.precision}, *request)
