"""RunPod's client for Python."""

import runpod
from runpod.endpoint.runner import RunPodClient

from picture import CAPTION, DATA_URI, TOKEN, URL, check

runpod.endpoint_url_base = f"{URL}/v2"
runpod.api_key = TOKEN
RunPodClient()
endpoint = runpod.Endpoint("captioning")
check("run_sync", endpoint.run_sync({"input": {"img_url": DATA_URI}}, timeout=60)["generated_output"], CAPTION)
