#!/usr/bin/env bash
# Sets up and runs every test: Rust, the shipped rules, the official Python client against the real binary, the questions of
# the embedded models.
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n== %s\n' "$*"; }

# Debian and Ubuntu machines may be bare; elsewhere the message says what is missing.
need() {
  local command=$1 package=$2
  command -v "$command" >/dev/null 2>&1 && return
  if command -v apt-get >/dev/null 2>&1; then
    local sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq && $sudo apt-get install -y -qq $package >/dev/null
  else
    echo "$command is needed: please install $package" >&2; exit 1
  fi
}

need cc gcc
need python3 "python3 python3-venv"

step "Rust tests"
cargo test --workspace --quiet
# The binary that the tests built. Building it apart would resolve features anew and compile the engine twice.
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
thinkgate="$target/debug/thinkgate"

step "Shipped rules: examples and cases"
"$thinkgate" check

step "OpenAI Python SDK against the binary"
python=.venv/bin/python
if [ ! -x $python ]; then
  # Debian splits venv from python3.
  python3 -m venv .venv 2>/dev/null || { need python3-venv python3-venv; python3 -m venv .venv; }
fi
$python -m pip install --quiet --disable-pip-version-check -r tests/sdk/requirements.txt
THINKGATE_BIN="$thinkgate" $python -m pytest -q tests/sdk

step "Questions that the embedded models are taught and tested with"
$python -m pytest -q -p no:cacheprovider models/recipe

step "All tests passed"
