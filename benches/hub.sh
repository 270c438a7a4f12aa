#!/usr/bin/env bash
# The hub: clones of a base and three fine-tunes (128 MiB of bf16 each) by plain git-lfs and by git sparse from the
# same server, over a link of 100 Mbit/s and, three times in turn, over loopback; basic downloads; many clients. Prints
# tables. Processor seconds are those of git, git-lfs and the daemon, and of the server.
# Needs: root (network namespaces, tc), cargo, git, git-lfs, curl, iproute2. About ten minutes and 6 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release --bins --benches -p git-sparse
lab=$(mktemp -d)
finish() {
    jobs -p | xargs -r kill 2>/dev/null || true
    for home in plain sparse; do GIT_SPARSE_DIR=$lab/$home/store git-sparse daemon stop >/dev/null 2>&1 || true; done
    ip netns del gs-client 2>/dev/null || true
    rm -rf "$lab"
}
trap finish EXIT
cargo bench --quiet --bench store -- family "$lab" >/dev/null 2>&1
export PATH=$PWD/target/release:$PATH GIT_CONFIG_NOSYSTEM=1

# One machine with two hosts: the server here, the client in a namespace behind a shaped link.
ip netns add gs-client
ip link add gs-hub type veth peer name gs-far netns gs-client
ip addr add 10.73.0.1/24 dev gs-hub && ip link set gs-hub up
ip -n gs-client addr add 10.73.0.2/24 dev gs-far && ip -n gs-client link set gs-far up
ip -n gs-client link set lo up
shape() { tc qdisc replace dev gs-hub root tbf rate "$1" burst 256kb latency 100ms; }
received() { ip -n gs-client -s -j link show gs-far | grep -o '"rx":{"bytes":[0-9]*' | grep -o '[0-9]*$'; }

mkdir "$lab/hub"
export HOME=$lab/server && mkdir "$HOME"
git-sparse serve --root "$lab/hub" --listen 0.0.0.0:8417 --url http://10.73.0.1:8417 --insecure --anonymous write \
    --rate 100000 >"$lab/out" 2>"$lab/log" &
hub=$!
until grep -q serving "$lab/out"; do sleep 0.1; done

home() { # NAME: a user; git sparse is installed for the one of that name
    export HOME=$lab/$1 GIT_SPARSE_DIR=$lab/$1/store XDG_RUNTIME_DIR=$lab/$1/run
    mkdir -p "$HOME" && mkdir -p -m 700 "$XDG_RUNTIME_DIR"
    git config --global user.name bench && git config --global user.email bench@localhost
    git config --global init.defaultBranch main
    git lfs install --skip-repo >/dev/null
    if [ "$1" = sparse ]; then git sparse install >/dev/null; fi
}
# Wall and processor seconds of a command and all that it waited for.
seconds() { TIMEFORMAT='%R %U %S'; { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{ printf "%.2f %.2f", $1, $2 + $3 }'; }
# Processor seconds of a process so far.
used() { awk -v hz="$(getconf CLK_TCK)" '{ printf "%.2f", ($14 + $15) / hz }' "/proc/$1/stat"; }
row() { printf '| %s | %s | %s | %s | %s |\n' "$1" "$2" "${3-}" "${4-}" "${5-}"; }
peak() { grep VmHWM "/proc/$1/status" | grep -o '[0-9]*'; }

home sparse
git init -q "$lab/work" && cd "$lab/work"
git lfs track '*.safetensors' >/dev/null
for model in base tuned-1 tuned-2 tuned-3; do cp "$lab/$model.safetensors" . && git add -A && git commit -qm "$model"; done
git remote add origin http://10.73.0.1:8417/org/family.git
echo '| | seconds | processor, client | processor, server | bytes received |'
echo '| --- | --- | --- | --- | --- |'
read -r took _ <<<"$(seconds git push -q origin main)"
row 'push of all four, sparse, loopback' "$took"
stored=$(du -s --block-size=1 --apparent-size "$lab/hub/org/family.git/sparse/packs" | cut -f1)
git-sparse daemon stop >/dev/null

clone() { # HOME LABEL RUNNER…
    local name=$1 label=$2; shift 2
    home "$name"
    rm -rf "$GIT_SPARSE_DIR" "$lab/clone"
    local before server took client daemon
    before=$(received) server=$(used "$hub")
    read -r took client <<<"$(seconds "$@" git clone -q http://10.73.0.1:8417/org/family.git "$lab/clone")"
    for daemon in $(pgrep -f "git-sparse daemon" || true); do
        if grep -qz "^GIT_SPARSE_DIR=$GIT_SPARSE_DIR$" "/proc/$daemon/environ" 2>/dev/null; then
            client=$(echo "$client + $(used "$daemon")" | bc)
        fi
    done
    row "clone, $name, $label" "$took" "$client" "$(echo "$(used "$hub") - $server" | bc)" "$(( $(received) - before ))"
    for model in base tuned-1 tuned-2 tuned-3; do cmp "$lab/clone/$model.safetensors" "$lab/$model.safetensors"; done
    git-sparse daemon stop >/dev/null
}
far() { ip netns exec gs-client "$@"; }
shape 100mbit
for turn in plain sparse; do clone $turn '100 Mbit/s' far; done
tc qdisc del dev gs-hub root
# The first plain one finds in the hub's cache what was rebuilt for the clone over the link.
for round in 1 2 3; do
    for turn in plain sparse; do clone $turn "loopback, $round" env; done
done
rm -rf "$lab"/server/.cache/git-sparse/hub/files/*
row 'stored at the hub' '' '' '' "$stored"

oid=$(sha256sum "$lab/base.safetensors" | cut -d' ' -f1)
url=http://127.0.0.1:8417/org/family.git/info/lfs
curl -s -o /dev/null "$url/objects/$oid"
rate=$(curl -s -o /dev/null -w '%{speed_download}' "$url/objects/$oid")
row 'GET of a cached file, MB/s' "$(echo "$rate / 1000000" | bc)"

many() { for _ in $(seq 200); do curl -s -o /dev/null -w '%{http_code}\n' "$url/objects/$oid" & done; wait $(jobs -p | grep -v "^$hub$"); }
codes=$(many | sort | uniq -c | tr -s ' \n' ' ')
row '200 clients at once: answers by status' "$codes"
row 'peak memory of the server, KiB' "$(peak "$hub")"
