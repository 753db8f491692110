"""How bench/compare.ts and bench/family.ts talk with the Python sides: lines of JSON, a request in and an answer out.

A request is {"images": [paths], "texts": [...], "newTokens": 20}. The answer to it has the milliseconds, and for each row
a list of numbers: token ids, a probability, or an embedding.
"""

import json
import sys
import time


def texts_of(request):
    """The texts of a request, a single one repeated for every image."""
    texts, images = request["texts"], request["images"]
    return texts * len(images) if len(texts) == 1 and images else texts


def timed(answer, request):
    start = time.perf_counter()
    rows = answer(request)
    return {"ms": (time.perf_counter() - start) * 1000, "rows": rows}


def serve(answer, about, request=None):
    """Answers one request given as JSON and ends, or answers each line on stdin. The first line printed says `about`."""
    print(json.dumps(about), flush=True)
    for line in sys.stdin if request is None else [request]:
        print(json.dumps(timed(answer, json.loads(line))), flush=True)
