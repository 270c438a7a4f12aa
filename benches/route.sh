#!/usr/bin/env bash
# The router: which prompts need the stronger model, against TF-IDF neighbours and prompt length; how fast; and, with
# two models, a cascade of them on next words.
#   route.sh OUTCOMES                             a line per prompt: domain, prompt, weak_right, strong_right (.gz is fine)
#   route.sh OUTCOMES WEAK.gguf STRONG.gguf TEXT  a cascade as well (cargo xtask engine first); half an hour on two cores
# Needs: cargo. Prints tables.
set -euo pipefail
cd "$(dirname "$0")/.."
outcomes=$(realpath "$1")
mkdir -p target/route
case $outcomes in
*.gz) gzip --decompress --stdout "$outcomes" >target/route/outcomes.jsonl ;;
*) cp "$outcomes" target/route/outcomes.jsonl ;;
esac
cargo bench --quiet --bench route -- "$PWD/target/route/outcomes.jsonl"
if [ $# -ge 4 ]; then
    engine=${GIT_SPARSE_ENGINE:-target/release/git-sparse-engine}
    cargo bench --quiet --bench cascade -- "$(realpath "$engine")" "$(realpath "$2")" "$(realpath "$3")" \
        "$(realpath "$4")" "$PWD/target/route/said.jsonl" "${5:-2000}"
fi
