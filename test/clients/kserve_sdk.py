"""KServe's SDK: both protocols over REST, and gRPC."""

import asyncio

from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

from picture import CAPTION, DATA_URI, GRPC_ADDRESS, TOKEN, URL, check

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def request():
    return InferRequest("captioning", [InferInput("img_url", [1], "BYTES", [DATA_URI])], request_id="one")


async def main():
    second = InferenceRESTClient(RESTConfig(protocol="v2"))
    check("v2 is_server_live", await second.is_server_live(URL), True)
    check("v2 is_server_ready", await second.is_server_ready(URL), True)
    check("v2 is_model_ready", await second.is_model_ready(URL, "captioning"), True)
    answer = await second.infer(URL, request(), model_name="captioning", headers=HEADERS)
    check("v2 infer", (answer.id, answer.outputs[0].data), ("one", [CAPTION]))

    first = InferenceRESTClient(RESTConfig(protocol="v1"))
    check("v1 is_model_ready", await first.is_model_ready(URL, "captioning"), True)
    answer = await first.infer(URL, {"instances": [{"img_url": DATA_URI}]}, model_name="captioning", headers=HEADERS)
    check("v1 predict", answer["predictions"][0]["generated_output"], CAPTION)

    grpc = InferenceGRPCClient(GRPC_ADDRESS)
    check("gRPC is_server_ready", await grpc.is_server_ready(headers=[("authorization", f"Bearer {TOKEN}")]), True)
    raw = InferRequest("captioning", [InferInput("img_url", [1], "BYTES", [DATA_URI.encode()])])
    answer = await grpc.infer(raw, headers=[("authorization", f"Bearer {TOKEN}")])
    check("gRPC infer", [bytes(value).decode() for value in answer.outputs[0].as_numpy()], [CAPTION])


asyncio.run(main())
