"""pip install grpcio grpcio-tools; python examples/ask_over_grpc.py"""

import os
import sys

import grpc

sys.path.append("handlers/grpc/proto")
messages, services = grpc.protos_and_services("blip/v1/visual_question_answering.proto")

address = os.environ.get("BLIP_GRPC_ADDRESS", "127.0.0.1:8081")
with open("examples/two-cats.png", "rb") as file:
    prompt = messages.ImagePrompt(bytes=file.read(), prompt="Question: how many cats are there? Answer:")
with grpc.insecure_channel(address) as channel:
    client = services.VisualQuestionAnsweringStub(channel)
    answer = client.Answer(prompt, metadata=[("authorization", "Bearer my-token")])
print(f"{answer.text} ({answer.score:.3f})")
