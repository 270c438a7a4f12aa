#!/usr/bin/env bash
# Requests and bytes of git push and git clone with a store in a bucket: a base and three fine-tunes of it, at
# moto's S3 server, which logs each request. Prints a table.
# Needs: cargo, git, git-lfs, python3 with venv, and PyPI. Takes a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
models=$PWD/tests/data/models
cargo build --quiet --release -p git-sparse
lab=$(mktemp -d)
python3 -m venv "$lab/venv"
"$lab/venv/bin/pip" install --quiet 'moto[server,s3]'
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$lab/venv/bin/moto_server" -H 127.0.0.1 -p "$port" 2>"$lab/log" >/dev/null &
server=$!
trap 'kill $server; rm -rf "$lab"' EXIT
export HOME=$lab/home GIT_CONFIG_NOSYSTEM=1 PATH=$PWD/target/release:$PATH GIT_SPARSE_NO_DAEMON=1
export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=thing AWS_REGION=us-east-1 AWS_ENDPOINT_URL=http://127.0.0.1:$port
unset AWS_PROFILE
mkdir -p "$HOME"
git config --global user.name bench && git config --global user.email bench@localhost
git config --global init.defaultBranch main
git lfs install --skip-repo >/dev/null && git sparse install >/dev/null
until curl -sf -X PUT "$AWS_ENDPOINT_URL/bench" >/dev/null; do sleep 0.2; done
git sparse trust sparse::s3://bench/store >/dev/null

row() { # NAME COMMAND…: what it asked of the bucket
    local name=$1 before start
    shift
    before=$(wc -l <"$lab/log")
    start=$(date +%s.%N)
    "$@" >/dev/null 2>&1
    printf '| %s | %.2f |' "$name" "$(echo "$(date +%s.%N) - $start" | bc)"
    for method in LIST GET HEAD PUT POST DELETE; do
        printf ' %s |' "$(tail -n "+$((before + 1))" "$lab/log" | sed 's/GET \/bench?/LIST \/bench?/' | grep -c "\(\"\|m\)$method /" || true)"
    done
    echo
}

echo '| | seconds | list | get | head | put | post | delete |'
echo '| --- | --- | --- | --- | --- | --- | --- | --- |'
cd "$lab"
git init -q --bare origin.git
git init -q work
cd work
git remote add origin "$lab/origin.git"
git sparse init --store sparse::s3://bench/store >/dev/null
export GIT_SPARSE_DIR=$lab/store
for model in tiny-base tiny-sft tiny-sft-2 tiny-lora-merged; do
    cp "$models/$model/model.safetensors" "$model.safetensors"
    git add -A && git commit -qm "$model"
    row "push $model" git push -q origin main
done
row 'push nothing' git push -q origin main
export GIT_SPARSE_DIR=$lab/other
cd "$lab"
row 'clone all four' git sparse clone origin.git clone
for model in tiny-base tiny-sft tiny-sft-2 tiny-lora-merged; do
    cmp "$lab/clone/$model.safetensors" "$models/$model/model.safetensors"
done
