"""The handler for platforms that import Python. Inferless makes an InferlessPythonModel and calls its three methods.

The model runs in Node.js: dist/serve.js, on a free port of 127.0.0.1 with a token that only this process knows.
docs/how-to/deploy-on-inferless.md describes it. This file needs Python's standard library alone.
"""

import base64
import glob
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing

# Where the sources are, and where inferless-runtime-config.yaml may have built them.
FOLDERS = [os.path.dirname(os.path.abspath(__file__)), "/opt/blip-handler"]
# Settings that are for servers that others reach.
FOREIGN = ("BLIP_AUTHORIZER", "BLIP_VERTEX_AUTHORIZER", "BLIP_TLS_", "BLIP_GRPC_", "AIP_")
# The server ends by itself after BLIP_STOP_LIMIT_MS. This is how much later it is killed.
STOP_MARGIN_SECONDS = 10


class InferlessPythonModel:
    def __init__(self):
        self._lock = threading.Lock()
        self._is_wanted = False
        self._process = None

    def initialize(self, *_):
        """Starts the service, and returns when its model is loaded."""
        with self._lock:
            if self._process is None:
                self._start()
            self._is_wanted = True

    def infer(self, inputs, *_):
        """Takes inputs by their names (input_schema.py), and returns outputs by theirs: a value, or a flat list."""
        named = {name: value for name, value in inputs.items() if value is not None}
        try:
            status, answer = self._generate(named)
        except (OSError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"NOT_READY: {self._ending()}. Ask again.") from error
        if status != 200:
            raise RuntimeError(f"{answer['code']}: {answer['error']}")
        return {name: value for name, value in answer.items() if name in self._outputs}

    def finalize(self, *_):
        """Lets the service finish what it has accepted, and ends it."""
        with self._lock:
            self._is_wanted = False
            process, self._process = self._process, None
        if process is not None:
            end(process)

    def _generate(self, named):
        path = f"/v2/models/{self._model}/generate"
        process = self._living_process()
        try:
            return self._ask("POST", path, named)
        except (OSError, http.client.HTTPException):
            process.wait(STOP_MARGIN_SECONDS)
            # Whether this request ended the service or chance did, nobody knows: it is asked once more, and no third time.
            self._living_process()
            return self._ask("POST", path, named)

    def _living_process(self):
        """The service's process, started again where it has ended."""
        with self._lock:
            if not self._is_wanted:
                raise RuntimeError("NOT_READY: Expected initialize() before infer(), and no finalize() between them.")
            if self._process is None or self._process.poll() is not None:
                print(f"blip-handler: {self._ending()}; it starts again", file=sys.stderr, flush=True)
                self._start()
            return self._process

    def _start(self):
        if self._process is not None:
            end(self._process)
            self._process = None
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self._port = free.getsockname()[1]
        self._token = secrets.token_urlsafe(32)
        variables = {"HOST": "127.0.0.1", "PORT": str(self._port), "BLIP_API_TOKENS": self._token}
        process = subprocess.Popen(
            ["node", os.path.join(find_bundle(), "build", "inferless", "serve.js")],
            stdin=subprocess.PIPE,
            env={**{name: text for name, text in environment().items() if not name.startswith(FOREIGN)}, **variables},
        )
        try:
            while not self._is_ready():
                if process.poll() is not None:
                    raise RuntimeError(f"The service ended with exit code {process.returncode}: the lines above say why.")
                time.sleep(0.02)
            self._model = self._ask("GET", "/v2/models")[1]["models"][0]
            described = self._ask("GET", f"/v2/models/{self._model}")[1]
            self._outputs = {output["name"] for output in described["outputs"]}
        except BaseException:
            end(process)
            raise
        self._process = process

    def _is_ready(self):
        try:
            return self._ask("GET", "/v2/health/ready")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _ask(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        with closing(http.client.HTTPConnection("127.0.0.1", self._port)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body, default=to_json), headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None

    def _ending(self):
        process = self._process
        code = None if process is None else process.poll()
        return "the service does not answer" if code is None else f"the service ended with exit code {code}"


def to_json(value):
    """Turns into JSON what platforms put into dictionaries besides Python's own values: numpy's, and bytes."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    raise TypeError(f"INVALID_INPUT: Expected a value or a list of values, got {type(value).__name__}.")


def environment():
    """The variables of this process, with the folders of CUDA's libraries from PyPI, which no loader searches."""
    folders = [found for path in sys.path for found in sorted(glob.glob(os.path.join(path, "nvidia", "*", "lib")))]
    path = os.pathsep.join([*folders, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    return {**os.environ, **({"LD_LIBRARY_PATH": path} if folders else {})}


def find_bundle():
    """The folder of a built package. Builds these sources where there is none, which takes half a minute and a network."""
    for folder in FOLDERS:
        if os.path.exists(os.path.join(folder, "dist", "serve.js")):
            return folder
    if shutil.which("npm") is None:
        raise RuntimeError("Expected Node.js: choose a runtime made of inferless-runtime-config.yaml.")
    folder = FOLDERS[0]
    if not os.access(folder, os.W_OK):
        left_out = shutil.ignore_patterns(".git", "node_modules")
        folder = shutil.copytree(folder, os.path.join(tempfile.mkdtemp(), "blip-handler"), ignore=left_out)
    commands = [["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "build", "--", "--quiet"]]
    if os.path.exists("/proc/driver/nvidia"):
        commands.append(["npm", "run", "gpu", "--", "--cuda", "12"])
    for command in commands:
        print(f"blip-handler: {' '.join(command)}", file=sys.stderr, flush=True)
        subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    FOLDERS.insert(0, folder)
    return folder


def end(process):
    """Closing stdin is serve.js' signal to drain. No process is left, nor a pipe to it."""
    process.stdin.close()
    try:
        process.wait(float(os.environ.get("BLIP_STOP_LIMIT_MS") or 25_000) / 1000 + STOP_MARGIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
