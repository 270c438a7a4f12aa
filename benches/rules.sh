#!/usr/bin/env bash
# Merges and quantisations of models in the store: what they cost, and how long it takes to store and rebuild them.
# Takes the pairs of benches/deltas.sh (DIR, default target/pairs) and makes the files first (benches/rules).
# Needs: cargo, git-lfs, python3 with venv, a package index for pip, a C++ compiler (llama-cpp-python is built: half an
# hour), 3 GB of disk. Prints a table.
set -euo pipefail
cd "$(dirname "$0")/.."
pairs=$(realpath -m "${1:-target/pairs}")
made=$pairs/rules

if [ ! -d "$made" ]; then
    [ -d target/python ] || python3 -m venv target/python
    target/python/bin/python -m pip install --quiet torch numpy safetensors gguf llama-cpp-python \
        transformers compressed-tensors bitsandbytes
    target/python/bin/python benches/rules/make.py "$pairs" "$made" >/dev/null 2>&1
fi
cargo build --quiet --release
PATH=$PWD/target/release:$PATH

work=$(mktemp -d)
trap 'git sparse daemon stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
export HOME=$work GIT_CONFIG_NOSYSTEM=1 GIT_SPARSE_NO_DAEMON=1
git config --global user.name bench
git config --global user.email bench@example.org
git lfs install >/dev/null
git sparse install >/dev/null
git init --quiet --bare "$work/remote.git"
git init --quiet "$work/repo"
cd "$work/repo"
git remote add origin "$work/remote.git"
git sparse init >/dev/null
commit() {
    git add -A
    git commit --quiet -m "$1"
    git push --quiet origin HEAD >/dev/null 2>&1
}
mkdir base sft checkpoint
for kind in base sft checkpoint; do
    cp "$pairs/smol-$kind-bf16.safetensors" "$kind/model.safetensors"
    commit "$kind"
done

seconds() { date +%s.%N; }
echo "| file | bytes | stored | push, s | rebuild, s | rebuild, MB/s |"
echo "| --- | --- | --- | --- | --- | --- |"
for file in "$made"/*.safetensors "$made"/*.gguf; do
    name=$(basename "$file")
    case $name in
    *.gguf) place=base/$name ;;
    *) mkdir -p "${name%.*}" && place=${name%.*}/model.safetensors ;;
    esac
    cp "$file" "$place"
    from=$(seconds)
    commit "$name"
    pushed=$(seconds)
    git sparse show "HEAD:$place" -o "$work/copy" >/dev/null
    rebuilt=$(seconds)
    cmp "$file" "$work/copy"
    rm "$work/copy"
    stored=$(git sparse show "HEAD:$place" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["file"]["stored"])')
    bytes=$(stat -c %s "$file")
    echo "$name $bytes $stored $from $pushed $rebuilt" |
        awk '{ printf "| %s | %d | %d | %.1f | %.1f | %.0f |\n", $1, $2, $3, $5 - $4, $6 - $5, $2 / ($6 - $5) / 1e6 }'
done
