"""Jina's client, with documents of DocArray 0.21, as in its article about BLIP-2."""

from jina import Client, Document
from jina.excepts import BadServer, BadServerFlow

from picture import CAPTION, DATA_URI, FILE, GRPC_ADDRESS, TOKEN, check

TOKENS = (("authorization", f"Bearer {TOKEN}"),)
host, port = GRPC_ADDRESS.split(":")
client = Client(host=host, port=int(port))


def responses(documents, **options):
    return [document.tags.get("response") for document in client.post("/", documents, metadata=TOKENS, **options)]


check("is_flow_ready", client.is_flow_ready(), True)
check("a uri", responses([Document(uri=DATA_URI)]), [CAPTION])
check("a blob", responses([Document(blob=FILE)]), [CAPTION])
check("a prompt", responses([Document(blob=FILE, tags={"prompt": "a picture of"})]), [f"a picture of {CAPTION}"])
check("parameters", responses([Document(blob=FILE)], parameters={"max_new_tokens": 2}), ["two cats"])
check("three requests, in order", responses([Document(blob=FILE)] * 3, request_size=1), [CAPTION] * 3)
check("without a stream", responses([Document(blob=FILE)] * 2, request_size=1, stream=False), [CAPTION] * 2)
check("compressed, gzip", responses([Document(blob=FILE)], compression="Gzip"), [CAPTION])
question = Document(blob=FILE, tags={"prompt": "how many cats are there?"})
answer = client.post("/question-answering", [question], metadata=TOKENS)[0].tags["response"]
print(f"/question-answering: {answer}")
mixed = client.post("/", [Document(id="good", blob=FILE), Document(id="bad", uri="cat.png")], metadata=TOKENS)
check("one document fails, the other does not", mixed["good"].tags["response"], CAPTION)
print(f"why: {mixed['bad'].tags['error']}")
try:
    responses([Document(uri="cat.png")])
except BadServer as error:
    print(f"no document is good: BadServer, {error.args[0].status.description}")
told = []
options = {"metadata": TOKENS, "parameters": {"max_new_token": 2}}
client.post("/", [Document(blob=FILE)], on_error=lambda answer: told.append(answer.header.status.description), **options)
print(f"on_error: {told[0]}")
try:
    client.post("/", [Document(blob=FILE)])
except BadServerFlow as error:
    check("no token", "StatusCode.UNAUTHENTICATED" in str(error), True)
