"""Triton's gRPC client: the same as over HTTP, streams, deadlines."""

import queue

import numpy
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from picture import CAPTION, DATA_URI, FILE, GRPC_ADDRESS, TOKEN, check

HEADERS = {"authorization": f"Bearer {TOKEN}"}


def bytes_input(values):
    tensor = triton.InferInput("img_url", [len(values)], "BYTES")
    tensor.set_data_from_numpy(numpy.array(values, dtype=object))
    return tensor


def captions(answer):
    return [value.decode() for value in answer.as_numpy("generated_output")]


client = triton.InferenceServerClient(GRPC_ADDRESS)
check("is_server_live", client.is_server_live(headers=HEADERS), True)
check("is_server_ready", client.is_server_ready(headers=HEADERS), True)
check("is_model_ready", client.is_model_ready("captioning", headers=HEADERS), True)
check("get_server_metadata name", client.get_server_metadata(headers=HEADERS).name, "blip-handler")
check("get_model_metadata inputs[0]", client.get_model_metadata("captioning", headers=HEADERS).inputs[0].name, "img_url")
check("a data URI", captions(client.infer("captioning", [bytes_input([DATA_URI.encode()])], headers=HEADERS)), [CAPTION])
check("the file itself", captions(client.infer("captioning", [bytes_input([FILE])], headers=HEADERS)), [CAPTION])
check("a batch", captions(client.infer("captioning", [bytes_input([FILE, FILE])], headers=HEADERS)), [CAPTION] * 2)
squeezed = client.infer("captioning", [bytes_input([FILE])], headers=HEADERS, compression_algorithm="gzip")
check("compressed, gzip", captions(squeezed), [CAPTION])
answers = queue.Queue()
client.start_stream(lambda result, error: answers.put(error or result), headers=HEADERS)
for number in range(3):
    client.async_stream_infer("captioning", [bytes_input([FILE])], request_id=str(number))
streamed = [answers.get(timeout=60) for _ in range(3)]
client.stop_stream()
check("a stream of three", sorted(answer.get_response().id for answer in streamed), ["0", "1", "2"])
check("and what they say", {caption for answer in streamed for caption in captions(answer)}, {CAPTION})
for what, name, more in (("no such model", "nothing", {}), ("a deadline of 1 ms", "captioning", {"client_timeout": 0.001})):
    try:
        client.infer(name, [bytes_input([FILE])], headers=HEADERS, **more)
    except InferenceServerException as error:
        print(f"{what}: {error.status()} {error.message()}")
try:
    client.infer("captioning", [bytes_input([FILE])])
except InferenceServerException as error:
    check("no token", error.status(), "StatusCode.UNAUTHENTICATED")
