"""Does what Inferless does with a repository: reads input_schema.py, imports app.py, and calls the three methods.

Takes the folder as its argument, and commands on stdin, one line of JSON each; answers each with a line of JSON.
"""

import importlib
import json
import os
import sys


class Array:
    """Stands for numpy's arrays and scalars, whose values come by tolist()."""

    def __init__(self, value):
        self.value = value

    def tolist(self):
        return self.value


def read_inputs(command):
    inputs = dict(command["inputs"])
    for name in command.get("arrays", []):
        inputs[name] = Array(inputs[name])
    for name in command.get("bytes", []):
        inputs[name] = bytes.fromhex(inputs[name])
    return inputs


def answer(model, command):
    name = command["call"]
    if name == "pid":
        return model._process.pid
    if name == "infer":
        return model.infer(read_inputs(command))
    return getattr(model, name)(*command.get("arguments", []))


def main(folder):
    # As inferless-cli 2.0.22 reads the file.
    schema = {}
    with open(os.path.join(folder, "input_schema.py")) as file:
        exec(file.read(), {}, schema)
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    model = importlib.import_module("app").InferlessPythonModel()
    reply(schema["INPUT_SCHEMA"])
    for line in sys.stdin:
        try:
            reply({"answer": answer(model, json.loads(line))})
        except Exception as error:
            reply({"error": f"{type(error).__name__}: {error}"})


def reply(value):
    print("reply " + json.dumps(value), flush=True)


main(sys.argv[1])
