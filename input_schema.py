"""The inputs of a model for captioning. Made of input_schema.ts by `npm run inferless captioning`."""

INPUT_SCHEMA = {
    "img_url": {
        "datatype": "STRING",
        "required": True,
        "shape": [-1],
        "example": ["https://storage.googleapis.com/sfr-vision-language-research/BLIP/demo.jpg"],
    },
    "text": {
        "datatype": "STRING",
        "required": False,
        "shape": [-1],
        "example": ["a photography of"],
    },
    "preset": {
        "datatype": "STRING",
        "required": False,
        "shape": [1],
        "example": ["hf"],
    },
    "max_length": {
        "datatype": "INT64",
        "required": False,
        "shape": [1],
        "example": [30],
    },
    "max_new_tokens": {
        "datatype": "INT64",
        "required": False,
        "shape": [1],
        "example": [20],
    },
    "min_length": {
        "datatype": "INT64",
        "required": False,
        "shape": [1],
        "example": [10],
    },
    "min_new_tokens": {
        "datatype": "INT64",
        "required": False,
        "shape": [1],
        "example": [5],
    },
    "num_beams": {
        "datatype": "INT64",
        "required": False,
        "shape": [1],
        "example": [3],
    },
    "length_penalty": {
        "datatype": "FP32",
        "required": False,
        "shape": [1],
        "example": [1],
    },
    "early_stopping": {
        "datatype": "STRING",
        "required": False,
        "shape": [1],
        "example": ["never"],
    },
    "num_return_sequences": {
        "datatype": "INT64",
        "required": False,
        "shape": [1],
        "example": [1],
    },
    "repetition_penalty": {
        "datatype": "FP32",
        "required": False,
        "shape": [1],
        "example": [1.5],
    },
    "no_repeat_ngram_size": {
        "datatype": "INT64",
        "required": False,
        "shape": [1],
        "example": [3],
    },
    "do_sample": {
        "datatype": "BOOL",
        "required": False,
        "shape": [1],
        "example": [True],
    },
    "temperature": {
        "datatype": "FP32",
        "required": False,
        "shape": [1],
        "example": [0.7],
    },
    "top_k": {
        "datatype": "INT64",
        "required": False,
        "shape": [1],
        "example": [50],
    },
    "top_p": {
        "datatype": "FP32",
        "required": False,
        "shape": [1],
        "example": [0.9],
    },
    "min_p": {
        "datatype": "FP32",
        "required": False,
        "shape": [1],
        "example": [0.05],
    },
    "seed": {
        "datatype": "INT64",
        "required": False,
        "shape": [1],
        "example": [42],
    },
}
