#!/usr/bin/env bash
# Peak memory of the daemon for a 4 GiB model (16 bf16 tensors of 256 MiB: zeros, with noise in each),
# after a push and after a git sparse clone with an empty store. Prints a table.
# Needs: cargo, git, git-lfs, a file system with sparse files, 6 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release -p git-sparse
lab=$(mktemp -d)
trap 'git-sparse daemon stop >/dev/null 2>&1 || true; rm -rf "$lab"' EXIT
export HOME=$lab/home GIT_CONFIG_NOSYSTEM=1 PATH=$PWD/target/release:$PATH GIT_SPARSE_DIR=$lab/store
mkdir -p "$HOME"
git config --global user.name bench && git config --global user.email bench@localhost
git config --global init.defaultBranch main
git lfs install --skip-repo >/dev/null && git sparse install >/dev/null

tensor=$((256 << 20))
header='{'
for i in $(seq 0 15); do
    [ "$i" = 0 ] || header+=','
    header+="\"layers.$i\":{\"dtype\":\"BF16\",\"shape\":[32768,4096],\"data_offsets\":[$((i * tensor)),$(((i + 1) * tensor))]}"
done
header+='}'
while [ $((${#header} % 8)) != 0 ]; do header+=' '; done
model=$lab/model.safetensors
len=$(printf '%016x' ${#header} | sed -E 's/(..)(..)(..)(..)(..)(..)(..)(..)/\\x\8\\x\7\\x\6\\x\5\\x\4\\x\3\\x\2\\x\1/')
printf "$len%s" "$header" >"$model"
truncate -s $((8 + ${#header} + 16 * tensor)) "$model"
for i in $(seq 0 15); do
    head -c $((8 << 20)) /dev/urandom |
        dd of="$model" bs=1M seek=$((8 + ${#header} + i * tensor)) oflag=seek_bytes conv=notrunc status=none
done

git init -q --bare "$lab/remote.git"
git init -q "$lab/work" && cd "$lab/work"
git remote add origin "$lab/remote.git"
git sparse init >/dev/null
cp --sparse=always "$model" model.safetensors
git add -A && git commit -qm model
peak() { grep VmHWM "/proc/$(git sparse daemon status --json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')/status" | tr -s '\t ' ' ' | cut -d' ' -f2-; }
echo '| 4 GiB model | peak memory of the daemon |'
echo '| --- | --- |'
git sparse daemon start >/dev/null
git push -q origin main >/dev/null 2>&1
echo "| push | $(peak) |"
git sparse daemon stop >/dev/null
rm -rf "$lab/store" "$lab/work"
cd "$lab"
git sparse daemon start >/dev/null
git sparse clone "$lab/remote.git" "$lab/clone" >/dev/null 2>&1
cmp "$lab/clone/model.safetensors" "$model"
echo "| git sparse clone | $(peak) |"
