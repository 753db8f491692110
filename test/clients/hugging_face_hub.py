"""Hugging Face's client for Python, with the address of the service in place of a model's name."""

from huggingface_hub import InferenceClient

from picture import CAPTION, FILE, TOKEN, URL, check

client = InferenceClient(model=URL, token=TOKEN)
check("image_to_text", client.image_to_text(FILE).generated_text, CAPTION)
