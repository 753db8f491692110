"""RunPod's client for Python."""

import runpod
from runpod.endpoint.runner import RunPodClient

from picture import CAPTION, DATA_URI, TOKEN, URL, check

runpod.endpoint_url_base = f"{URL}/v2"
runpod.api_key = TOKEN
RunPodClient()
endpoint = runpod.Endpoint("captioning")
check("run_sync", endpoint.run_sync({"input": {"img_url": DATA_URI}}, timeout=60)["generated_output"], CAPTION)
job = endpoint.run({"input": {"img_url": DATA_URI}})
check("run, then output", job.output(timeout=60)["generated_output"], CAPTION)
check("status", job.status(), "COMPLETED")
check("the same by its id", endpoint.rp_client.get(f"captioning/status/{job.job_id}")["status"], "COMPLETED")
check("cancel, when it has ended", job.cancel()["status"], "COMPLETED")
check("health", endpoint.health()["workers"]["ready"], 1)
check("purge_queue", endpoint.purge_queue(), {"removed": 0, "status": "completed"})
