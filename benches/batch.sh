#!/usr/bin/env bash
# Answers of a hub whose repository has a million files, each an object of its own: batches of 100 by the batch API, and
# the same question of transfer sparse. Real HTTP on one connection; prints a table of milliseconds, waited and of the hub's
# processor.
# Needs: cargo, git, python3. About five minutes, 5 GB of disk and a million inodes; GIT_SPARSE_LAB names the directory
# to make them in.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release --bins --benches -p git-sparse
export PATH=$PWD/target/release:$PATH GIT_CONFIG_NOSYSTEM=1
lab=$(mktemp -d "${GIT_SPARSE_LAB:-/tmp}/git-sparse-batch.XXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$lab"' EXIT
store=$lab/hub/org/million.git/sparse
git init -q --bare "$lab/hub/org/million.git"
cargo bench --quiet --bench store -- million "$store" >/dev/null
export HOME=$lab/home && mkdir "$HOME"
git-sparse serve --root "$lab/hub" --listen 127.0.0.1:0 --anonymous write --rate 100000 >"$lab/out" 2>"$lab/log" &
server=$!
until grep -q serving "$lab/out"; do sleep 0.1; done
python3 benches/batch.py "$(grep -o 'http://.*' "$lab/out")" "$store/list" "$server"
