#!/usr/bin/env bash
# git push and git clone of a 256 MiB bf16 model and its fine-tune: git sparse beside plain git-lfs
# (its own file:// transfer), zstd --patch-from and xdelta3, in one run. Prints a table.
# Needs: cargo, git, git-lfs, zstd, xdelta3, sha256sum. Takes a few minutes and 4 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release -p git-sparse
lab=$(mktemp -d)
trap 'GIT_SPARSE_DIR=$lab/store git-sparse daemon stop >/dev/null 2>&1 || true; rm -rf "$lab"' EXIT
cargo bench --quiet --bench store -- write "$lab" >/dev/null 2>&1
export HOME=$lab/home GIT_CONFIG_NOSYSTEM=1 PATH=$PWD/target/release:$PATH GIT_SPARSE_DIR=$lab/store
mkdir -p "$HOME"
git config --global user.name bench && git config --global user.email bench@localhost
git config --global init.defaultBranch main
git lfs install --skip-repo >/dev/null && git sparse install >/dev/null

seconds() { local start end; start=$(date +%s.%N); "$@" >/dev/null 2>&1; end=$(date +%s.%N); echo "$end - $start" | bc; }
row() { printf '| %s | %s | %s |\n' "$1" "$2" "$3"; }
size() { du -s --block-size=1 --apparent-size "$1" | cut -f1; }

publish() { # NAME: a remote and a work tree; lfs or sparse
    git init -q --bare "$lab/$1.git"
    git init -q "$lab/$1"
    cd "$lab/$1"
    git remote add origin "$lab/$1.git"
    if [ "$1" = sparse ]; then git sparse init >/dev/null; else git lfs track '*.safetensors' >/dev/null; fi
    for model in base tuned; do
        cp "$lab/$model.safetensors" model.safetensors
        git add -A && git commit -qm "$model"
        row "push $model, $1" "$(seconds git push -q origin main)" "$(size "$lab/$1.git")"
    done
}

echo '| | seconds | bytes in the remote |'
echo '| --- | --- | --- |'
publish lfs
publish sparse
cd "$lab"
GIT_SPARSE_DIR=$lab/store git-sparse daemon stop >/dev/null
for name in lfs sparse; do
    rm -rf "$lab/store"
    row "clone, $name (no store yet)" "$(seconds git clone -q "$lab/$name.git" "$lab/clone-$name")" ''
    cmp "$lab/clone-$name/model.safetensors" "$lab/tuned.safetensors"
done
row 'clone again, sparse (store is there)' "$(seconds git clone -q "$lab/sparse.git" "$lab/clone-2")" ''
row 'git sparse clone (store is there)' "$(seconds git sparse clone "$lab/sparse.git" "$lab/clone-3")" ''
row 'no-op push, lfs' "$(cd lfs && seconds git push -q origin main)" ''
row 'no-op push, sparse' "$(cd sparse && seconds git push -q origin main)" ''
row 'cp' "$(seconds cp tuned.safetensors copy)" "$(size copy)"
row 'sha256sum' "$(seconds sha256sum tuned.safetensors)" ''
row 'zstd -3' "$(seconds zstd -q -3 tuned.safetensors -o a.zst)" "$(size a.zst)"
row 'zstd -3 --patch-from --long=31' "$(seconds zstd -q -3 --long=31 --patch-from=base.safetensors tuned.safetensors -o b.zst)" "$(size b.zst)"
row 'xdelta3 -3' "$(seconds xdelta3 -3 -e -s base.safetensors tuned.safetensors c.xd3)" "$(size c.xd3)"
