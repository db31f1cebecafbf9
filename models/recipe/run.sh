#!/usr/bin/env bash
# Trains, tests and exports the pico models from nothing. Resumable: run it again after an interruption.
#
#   models/recipe/run.sh [FOLDER FOR RUNS]
#
# Two processes of one thread each; about three and a half hours on two cores. Writes the folder for runs, models/ and the engine's fixtures.
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

once() { [ -e "$1" ] || "${@:2}"; }
train() { once "$runs/$1/final.pt" "$python" train.py "$2" --out "$runs/$1" --tokenizer "$runs/tokenizer.json" "${@:3}"; }
judge() { once "$runs/$1/results.json" "$python" evaluate.py "$2" --eval ../eval --out "$runs/$1/results.json" "${@:3}"; }
export_to() { "$python" export.py "$runs/$1/final.pt" "$runs/tokenizer.json" "$2"; }

once "$runs/tokenizer.json" "$python" tokenizer.py "$runs/tokenizer.json"
"$python" questions.py ../eval

# The MoE on one core. On the other: the dense model, the MoE's dense twin, and the MoE stopped where the twin stops.
train moe moe --tokens 36e6 --keep 3e6 16e6 & moe=$!
trap 'pkill -P $moe; kill $moe' EXIT  # or an interrupted run would leave a second writer behind
train dense dense --tokens 18e6
train twin twin --tokens 4.6e6
until [ -e "$runs/moe/kept-3000000.pt" ]; do kill -0 $moe; sleep 5; done
train moe-half moe --tokens 4.6e6 --from "$runs/moe/kept-3000000.pt"

# Stage 5, and plain training for comparison, both from the finished dense model.
once "$runs/dense-rl/final.pt" "$python" rl.py "$runs/dense/final.pt" --out "$runs/dense-rl" --tokenizer "$runs/tokenizer.json"
train dense-control dense --tokens 20e6 --from "$runs/dense/checkpoint.pt"
wait $moe
trap - EXIT

for name in dense moe; do
  export_to $name ../pico-$name
  judge $name ../pico-$name
done
for name in twin moe-half dense-rl dense-control; do
  export_to $name "$runs/$name/folder"
  judge $name "$runs/$name/folder" --brief
done
"$python" catalogue.py "$runs" ../catalogue.toml
cargo run --release --quiet --manifest-path ../../Cargo.toml -- classify ../eval/fresh.jsonl --no-timing --output "$runs/decisions.jsonl"
"$python" card.py "$runs" ..
"$python" ../../engine/tests/fixtures/make_golden.py .. ../../engine/tests/fixtures/golden.json
