#!/usr/bin/env bash
# Trains, tests and exports the pico models from nothing. Resumable: run it again after an interruption.
#
#   models/recipe/run.sh [FOLDER FOR RUNS]
#
# Two processes of one thread each; about four CPU-hours in all. Nothing is written to the repository but models/.
set -euo pipefail
mkdir -p "${1:-$(dirname "$0")/runs}"
runs=$(cd "${1:-$(dirname "$0")/runs}" && pwd)
cd "$(dirname "$0")"

python=$runs/venv/bin/python
[ -x "$python" ] || python3 -m venv "$runs/venv"
"$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt

# Freed tensors go back to glibc's heap instead of to the kernel, in huge pages: training is two to three times faster.
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=200000000
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1 TOKENIZERS_PARALLELISM=false

done_once() { [ -e "$1" ] || "${@:2}"; }
train() { done_once "$runs/$1/final.pt" "$python" train.py "$2" --out "$runs/$1" --tokenizer "$runs/tokenizer.json" "${@:3}"; }
judge() { done_once "$runs/$1/results.json" "$python" evaluate.py "$2" --eval ../eval --out "$runs/$1/results.json" "${@:3}"; }
export_to() { "$python" export.py "$runs/$1/final.pt" "$runs/tokenizer.json" "$2"; }

done_once "$runs/tokenizer.json" "$python" tokenizer.py "$runs/tokenizer.json"
"$python" questions.py ../eval

# The MoE on one core. On the other: the dense model, the MoE's dense twin, and the MoE stopped where the twin stops.
train moe moe --tokens 16e6 --keep 4.5e6 & moe=$!
train dense dense --tokens 18e6
train twin twin --tokens 8e6
until [ -e "$runs/moe/kept-4500000.pt" ]; do sleep 5; done
train moe-half moe --tokens 8e6 --from "$runs/moe/kept-4500000.pt"

# Stage 5, and as many CPU-minutes of plain training for comparison.
done_once "$runs/dense-rl/final.pt" "$python" rl.py "$runs/dense/final.pt" --out "$runs/dense-rl" --tokenizer "$runs/tokenizer.json"
train dense-control dense --tokens 20e6 --from "$runs/dense/checkpoint.pt"
wait $moe

for name in dense moe; do
  export_to "$name" "../pico-$name"
  judge "$name" "../pico-$name"
done
for name in twin moe-half dense-rl dense-control; do
  export_to "$name" "$runs/$name/folder"
  judge "$name" "$runs/$name/folder" --quick
done
judge dense-before ../pico-dense --quick
"$python" card.py "$runs" ..
