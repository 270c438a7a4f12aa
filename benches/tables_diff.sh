#!/usr/bin/env bash
# The rows that differ between two versions of a table, without a key: seconds of the CPU and the peak of memory of
# `git sparse dataset diff`, of DuckDB's two anti-joins, and of the crate csv-diff (with a row number
# as key, on CSV, which qsv's diff is made of). Prints a table.
# Needs: cargo, GNU time, the tables of tables.sh, python3 with venv, a package index for pip.
set -euo pipefail
cd "$(dirname "$0")/.."
made=$(realpath -m "${1:-target/tables}")
scripts=$PWD/benches/tables
[ -d target/python ] || python3 -m venv target/python
python=$PWD/target/python/bin/python
"$python" -m pip install --quiet pyarrow duckdb
cargo build --quiet --release -p git-sparse
cargo build --quiet --release --manifest-path "$scripts/csv_rows/Cargo.toml" --target-dir target/csv-rows
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
measured() {
    local name=$1
    shift
    /usr/bin/time -o "$work/report" -f '%U %S %M' "$@" >/dev/null
    tail -1 "$work/report" | awk -v name="$name" '{ printf "| %s | %.2f s | %.0f MiB |\n", name, $1 + $2, $3 / 1024 }'
}
for table in packages flights; do
    old=$made/$table/v1.parquet new=$made/$table/upd1.parquet
    arrow=$("$python" -c 'import sys, pyarrow.parquet as pq; print(sum(pq.read_table(path).nbytes for path in sys.argv[1:]) / 2**20)' "$old" "$new")
    printf '| %s, both %.0f MiB in Arrow | CPU | peak of memory |\n| --- | --- | --- |\n' "$table" "$arrow"
    measured '`git sparse dataset diff`' target/release/git-sparse dataset diff --no-index "$old" "$new" --json
    measured 'DuckDB, two anti-joins' "$python" "$scripts/antijoin.py" "$old" "$new"
    "$python" "$scripts/csv_of.py" "$old" "$work/old.csv"
    "$python" "$scripts/csv_of.py" "$new" "$work/new.csv"
    measured 'csv-diff' target/csv-rows/release/csv-rows "$work/old.csv" "$work/new.csv"
    echo
done
