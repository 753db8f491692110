"""What every client here is given: a server, a picture, and the caption that a plain HTTP request got for it."""

import base64
import os
from pathlib import Path

URL = os.environ["BLIP_URL"]
GRPC_ADDRESS = os.environ["BLIP_GRPC_ADDRESS"]
TOKEN = os.environ["BLIP_TOKEN"]
CAPTION = os.environ["BLIP_CAPTION"]
PATH = Path(os.environ["BLIP_PICTURE"])
FILE = PATH.read_bytes()
DATA_URI = "data:image/png;base64," + base64.b64encode(FILE).decode()


def check(what, got, wanted):
    """Prints a line of the transcript; ends the program where what came is not what must come."""
    if got != wanted:
        raise SystemExit(f"{what}: expected {wanted!r}, got {got!r}")
    print(f"{what}: {got}")
