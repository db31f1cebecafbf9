"""Serves one GGUF file with llama.cpp's own HTTP server, which the package carries: llama_cpp.py MODEL PORT ALIAS REASONING [TEMPLATE]."""

import sys
import time
from pathlib import Path

import xllamacpp

path, port, alias, reasoning, *template = sys.argv[1:]
parameters = xllamacpp.CommonParams()
parameters.model.path = path
parameters.model_alias = {alias}
parameters.port = int(port)
parameters.n_ctx = 4096
parameters.n_parallel = 2
parameters.cpuparams.n_threads = 2
parameters.use_jinja = True
parameters.ui = False
parameters.chat_template = "".join(Path(file).read_text() for file in template)
# deepseek: reasoning in a field of its own; none: inline, between its tags.
parameters.reasoning_format = getattr(xllamacpp.common_reasoning_format, f"COMMON_REASONING_FORMAT_{reasoning.upper()}")
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
while True:
    time.sleep(3600)
