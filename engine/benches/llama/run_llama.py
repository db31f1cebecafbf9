"""How fast is llama.cpp on one model? The counterpart of examples/speed.rs: the same tokens in the same steps."""

import ctypes
import json
import sys
import time

import llama_cpp as llama

PROMPT, STEP = 512, 256


class Runner:
    """A context of just the length that is needed, for it takes its memory at once."""

    def __init__(self, model, threads: int, context: int, sequences: int):
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context * sequences, 512, 512
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        self.context = llama.llama_init_from_model(model, params)
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(512, 0, 1)
        self.lengths = [0] * sequences

    def close(self) -> None:
        llama.llama_batch_free(self.batch)
        llama.llama_free(self.context)

    def step(self, takes: dict[int, int]) -> None:
        """Reads so many tokens of each sequence; logits of the last of each."""
        at = 0
        for sequence, take in takes.items():
            for offset in range(take):
                position = self.lengths[sequence] + offset
                self.batch.token[at] = 100 + position % 1000
                self.batch.pos[at] = position
                self.batch.n_seq_id[at] = 1
                self.batch.seq_id[at][0] = sequence
                self.batch.logits[at] = offset + 1 == take
                at += 1
            self.lengths[sequence] += take
        self.batch.n_tokens = at
        if llama.llama_decode(self.context, self.batch) != 0:
            raise RuntimeError("llama_decode failed")
        llama.llama_synchronize(self.context)


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_mib() -> float:
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    path, threads, positions, steps = sys.argv[1], *map(int, sys.argv[2:5])
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(path.encode(), llama.llama_model_default_params())
    read = lambda runner, tokens: [runner.step({0: min(STEP, tokens - at)}) for at in range(0, tokens, STEP)]
    warm = Runner(model, threads, PROMPT, 1)
    read(warm, PROMPT)
    warm.close()
    alone = Runner(model, threads, positions + steps, 1)
    out = {"prefill": PROMPT / seconds(lambda: read(alone, PROMPT))}
    read(alone, positions - PROMPT)
    out["decode"] = steps / seconds(lambda: [alone.step({0: 1}) for _ in range(steps)])
    alone.close()
    runner = Runner(model, threads, PROMPT + steps, 8)
    for sequence in range(8):
        runner.step({sequence: 256})
    together = {sequence: 1 for sequence in range(8)}
    out["decode 8"] = 8 * steps / seconds(lambda: [runner.step(together) for _ in range(steps)])
    llama.llama_memory_seq_rm(runner.memory, 7, -1, -1)
    runner.lengths[7] = 0

    def first_token() -> None:
        while runner.lengths[7] < PROMPT:
            take = min(STEP - 7, PROMPT - runner.lengths[7])
            runner.step({sequence: 1 for sequence in range(7)} | {7: take})

    out["first token"] = seconds(first_token)
    out["peak"] = peak_mib()
    print(json.dumps(out))


@llama.llama_log_callback
def silent(_level, _text, _data):
    pass


main()
