"""Triton's HTTP client: JSON and binary tensors, health, metadata, statistics, compression, errors."""

import numpy
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from picture import CAPTION, DATA_URI, FILE, TOKEN, URL, check

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def bytes_input(name, values, binary):
    tensor = triton.InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(numpy.array(values, dtype=object), binary_data=binary)
    return tensor


def caption(inputs, binary_output=True, **more):
    outputs = [triton.InferRequestedOutput("generated_output", binary_data=binary_output)]
    answer = client.infer("captioning", inputs, outputs=outputs, headers=dict(HEADERS), **more)
    return [value.decode() if isinstance(value, bytes) else value for value in answer.as_numpy("generated_output")]


client = triton.InferenceServerClient(URL.removeprefix("http://"), concurrency=4)
check("is_server_live", client.is_server_live(), True)
check("is_server_ready", client.is_server_ready(), True)
check("is_model_ready", client.is_model_ready("captioning"), True)
check("get_server_metadata name", client.get_server_metadata()["name"], "captioning")
check("get_model_metadata inputs[0]", client.get_model_metadata("captioning")["inputs"][0]["name"], "img_url")
check("get_model_repository_index", {model["state"] for model in client.get_model_repository_index()}, {"READY"})
check("JSON tensors", caption([bytes_input("img_url", [DATA_URI], False)], binary_output=False), [CAPTION])
check("binary tensors, a data URI", caption([bytes_input("img_url", [DATA_URI.encode()], True)]), [CAPTION])
check("binary tensors, the file itself", caption([bytes_input("img_url", [FILE], True)]), [CAPTION])
check("binary in, JSON out", caption([bytes_input("img_url", [FILE], True)], binary_output=False), [CAPTION])
for method in ("gzip", "deflate"):
    compression = {"request_compression_algorithm": method, "response_compression_algorithm": method}
    check(f"compressed, {method}", caption([bytes_input("img_url", [FILE], True)], **compression), [CAPTION])
tokens = triton.InferInput("max_new_tokens", [1], "INT64")
tokens.set_data_from_numpy(numpy.array([2], dtype=numpy.int64))
short = caption([bytes_input("img_url", [FILE, FILE], True), tokens])
check("a batch of two, at most 2 new tokens", short, [" ".join(CAPTION.split()[:2])] * 2)
later = client.async_infer("captioning", [bytes_input("img_url", [FILE], True)], headers=HEADERS).get_result()
check("async_infer", later.as_numpy("generated_output").tolist(), [CAPTION.encode()])
counts = client.get_inference_statistics("captioning")["model_stats"][0]
check("statistics count them", counts["inference_stats"]["success"]["count"] >= 8, True)
for what, name, url in (("no such model", "nothing", DATA_URI), ("no image", "captioning", "data:image/png;base64,AAAA")):
    try:
        client.infer(name, [bytes_input("img_url", [url], False)], headers=HEADERS)
    except InferenceServerException as error:
        print(f"{what}: {error.status()} {error.message()}")
try:
    client.infer("captioning", [bytes_input("img_url", [DATA_URI], False)])
except InferenceServerException as error:
    check("no token", error.status(), "401")
