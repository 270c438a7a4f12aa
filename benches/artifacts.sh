#!/usr/bin/env bash
# Portable deltas of the pairs that benches/deltas.sh made in DIR (default target/pairs): size, how near the
# estimate was and how much it read, seconds, peak memory. Every file is rebuilt and compared. Prints a table.
# Needs: cargo, python3, GNU time, the pairs, 2 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(realpath "${1:-target/pairs}")
cargo build --quiet --release -p git-sparse
delta="$PWD/target/release/git-sparse delta"
lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT

get() { python3 -c "import json,sys; d=json.load(open(sys.argv[1])); print($1)" "$2"; }
# Runs a command, keeps what it prints in $lab/NAME.json, and prints its seconds and peak memory in MiB.
timed() {
    local name=$1
    shift
    command time -f '%e %M' -o "$lab/time" "$@" --json >"$lab/$name.json"
    awk '{ printf "%.1f s, %d MiB", $1, $2 / 1024 }' "$lab/time"
}

echo '| base → fine-tune | artifact ÷ files | estimate ÷ artifact | read by it | estimate | compress | reconstruct |'
echo '| --- | --- | --- | --- | --- | --- | --- |'
while read -r base tuned; do
    from=$dir/$base.safetensors to=$dir/$tuned.safetensors
    estimate=$(timed estimate $delta estimate "$from" "$to")
    compress=$(timed compress $delta compress "$from" "$to" -o "$lab/artifact")
    rebuild=$(timed rebuild $delta reconstruct "$from" "$lab/artifact" -o "$lab/out")
    cmp "$lab/out/$tuned.safetensors" "$to"
    size=$(get "d['totals']['size']" "$lab/compress.json") stored=$(get "d['totals']['stored']" "$lab/compress.json")
    near=$(get "f\"{d['strategies'][0]['bytes'] / $stored:.3f}\"" "$lab/estimate.json")
    read=$(get "f\"{d['read'] / d['both']:.1%}\"" "$lab/estimate.json")
    share=$(python3 -c "print(f'{$stored / $size:.2%}')")
    echo "| $base → $tuned | $share | $near | $read | $estimate | $compress | $rebuild |"
    rm -rf "$lab/artifact" "$lab/out"
done < <(python3 - "$dir/pairs.tsv" <<'PAIRS'
import sys
for line in open(sys.argv[1]):
    base, tuned = line.split("\t")[:2]
    if base != "base":
        print(base, tuned)
PAIRS
)
