"""BentoML's clients, as BentoBLIP is asked."""

import asyncio

import bentoml

from picture import CAPTION, PATH, TOKEN, URL, check


async def later():
    async with bentoml.AsyncHTTPClient(URL, token=TOKEN) as client:
        check("AsyncHTTPClient, a file", await client.generate(img=PATH), CAPTION)


with bentoml.SyncHTTPClient(URL, token=TOKEN) as client:
    check("SyncHTTPClient.is_ready", client.is_ready(), True)
    check("SyncHTTPClient, a file", client.generate(img=PATH), CAPTION)
    start = " ".join(CAPTION.split()[:2])
    check("with a text", client.generate(img=PATH, txt=start).startswith(start), True)
asyncio.run(later())
