#!/usr/bin/env bash
# The next version of a data set in lines, after edits that people make: what it adds to a store, beside
# zstd --patch-from and xdelta3. Real text: the package index of a Debian machine, a line of JSON a package.
# Prints a table. Needs: cargo, git-lfs, zstd, xdelta3, python3, apt with its lists (apt-get update); pyarrow for Arrow.
set -euo pipefail
cd "$(dirname "$0")/.."
made=$(realpath -m "${1:-target/text}")

if [ ! -d "$made" ]; then
    mkdir -p "$made"
    python3 benches/text.py "$made"
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
bytes_of() { du --bytes --summarize "$1" | cut -f1; }
commit() {
    cp "$1" "data.$kind"
    git add -A
    git commit --quiet -m "$(basename "$1")"
    git push --quiet origin HEAD >/dev/null 2>&1
}

echo "| edit | bytes of version 2 | pushed | share | zstd -3 --long=27 --patch-from | xdelta3 |"
echo "| --- | --- | --- | --- | --- | --- |"
for first in "$made"/first.*; do
    kind=${first#"$made"/first.}
    for file in "$made"/*."$kind"; do
        name=$(basename "$file" ".$kind")
        [ "$name" = first ] && continue
        case $name in *.*) continue ;; esac
        rm -rf "$work/.local" "$work/repo" "$work/remote.git"
        git init --quiet --bare "$work/remote.git"
        git init --quiet "$work/repo"
        cd "$work/repo"
        git remote add origin "$work/remote.git"
        git sparse init >/dev/null
        git lfs track "*.$kind" >/dev/null
        commit "$first"
        before=$(bytes_of "$work/remote.git/sparse")
        commit "$file"
        pushed=$(($(bytes_of "$work/remote.git/sparse") - before))
        git sparse show "HEAD:data.$kind" -o "$work/copy" >/dev/null
        cmp "$file" "$work/copy"
        rm "$work/copy"
        zstd --quiet -3 --long=27 --patch-from="$first" "$file" -o "$work/patch" --force 2>/dev/null
        xdelta3 -f -e -B 134217728 -s "$first" "$file" "$work/xdelta"
        bytes=$(stat -c %s "$file")
        echo "$bytes $pushed $(stat -c %s "$work/patch") $(stat -c %s "$work/xdelta")" |
            awk -v name="$kind: $name" '{ printf "| %s | %d | %d | %.3f %% | %.3f %% | %.3f %% |\n", name, $1, $2, 100 * $2 / $1, 100 * $3 / $1, 100 * $4 / $1 }'
    done
    echo "| $kind: the first version | $(stat -c %s "$first") | $before | $(awk -v a="$before" -v b="$(stat -c %s "$first")" 'BEGIN { printf "%.1f %%", 100 * a / b }') | | |"
done
