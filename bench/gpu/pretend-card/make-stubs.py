"""Writes C sources of the CUDA libraries that the provider needs, with functions that do nothing.

    python3 make-stubs.py PROVIDER FOLDER

PROVIDER is libonnxruntime_providers_cuda.so. Its table of undefined symbols says what cuBLAS and the driver must have; the
names of cuDNN's functions are strings in it, because it opens that library at run time. cudart.cpp has CUDA's runtime.
"""

import re
import subprocess
import sys
from pathlib import Path

# Functions of cuDNN that start something on the card; cudnn-reduce.c has those that compute.
LAUNCHES = "(Forward|Backward|Execute|OpTensor|AddTensor|SetTensor|ScaleTensor|TransformTensor|BiasActivation)(Training|Inference)?$"
WRITTEN_BY_HAND = {"cudnnSetTensorNdDescriptor", "cudnnSetReduceTensorDescriptor", "cudnnReduceTensor"}
SONAMES = ("libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13", "libcudnn.so.9")
COUNTED = "#include <stdlib.h>\nextern void fake_log(const char*, const char*);\nextern unsigned long fake_gemms;\n"


def undefined_symbols(provider):
    table = subprocess.run(["readelf", "--dyn-syms", "-W", provider], capture_output=True, text=True, check=True).stdout
    return [line.split()[7] for line in table.splitlines() if " UND " in line and len(line.split()) > 7]


def cublas_function(name):
    if re.search("(Create|Create_v2)$", name):
        return f"int {name}(void** handle) {{ *handle = malloc(64); return 0; }}"
    if "GetStatus" in name:
        return f'const char* {name}(int error) {{ return "pretended"; }}'
    if name == "cublasGetMathMode":
        return f"int {name}(void* handle, int* mode) {{ *mode = 0; return 0; }}"
    if name == "cublasSetMathMode":
        words = 'mode == 0 ? "default" : mode == 3 ? "tf32" : "other"'
        return f'int {name}(void* handle, int mode) {{ fake_log("mathmode", {words}); return 0; }}'
    if name.endswith("GetHeuristic"):
        arguments = "void* a, void* b, void* c, void* d, void* e, void* f, void* g, int wanted, void* results, int* count"
        return f"int {name}({arguments}) {{ *count = 1; return 0; }}"
    if re.search("Destroy|SetAttribute|SetStream|Init", name):
        return f"int {name}(void) {{ return 0; }}"
    return f'int {name}(void) {{ fake_gemms++; fake_log("gemm", "{name}"); return 0; }}'


def cudnn_function(name):
    if name == "cudnnGetVersion":
        return "unsigned long cudnnGetVersion(void) { return 91900; }"
    if "ErrorString" in name:
        return f'const char* {name}(void) {{ return "pretended"; }}'
    if name.startswith("cudnnCreate"):
        return f"int {name}(void** handle) {{ *handle = calloc(1, 256); return 0; }}"
    if re.search(LAUNCHES, name):
        return f'int {name}(void) {{ fake_log("cudnn", "{name}"); return 0; }}'
    return f"int {name}(void) {{ return 0; }}"


def main(provider, folder):
    undefined = undefined_symbols(provider)
    target = Path(folder)
    for library in ("cublas", "cublasLt"):
        names = sorted({symbol.split("@")[0] for symbol in undefined if symbol.endswith(f"@lib{library}.so.13")})
        (target / f"{library}.c").write_text(COUNTED + "\n".join(map(cublas_function, names)) + "\n")
    strings = re.findall(rb"\0(cudnn[A-Z][A-Za-z0-9_]{2,60})(?=\0)", Path(provider).read_bytes())
    names = sorted({string.decode() for string in strings} - WRITTEN_BY_HAND)
    (target / "cudnn.c").write_text(COUNTED + "\n".join(map(cudnn_function, names)) + "\n")
    driver = [symbol for symbol in undefined if re.fullmatch(r"cu[A-Z]\w+", symbol)]
    (target / "cuda.c").write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in driver))
    (target / "curand.c").write_text("int pretended(void) { return 0; }\n")
    for soname in SONAMES:  # The provider asks for symbols of a version, which has the library's own name.
        (target / f"{soname}.map").write_text(f"{soname} {{ global: *; }};\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
