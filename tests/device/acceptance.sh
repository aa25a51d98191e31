#!/usr/bin/env bash
# What only a real NVIDIA node can prove. Run on one, with gpudoctor installed (or importable) and nvcc on the PATH:
#   bash tests/device/acceptance.sh OUT_DIR
# Leaves in OUT_DIR: reports of the healthy node, its picture, recordings, timings beside the yardsticks, and a scan after
# each provoked application fault (an unmapped write, a misaligned one, a trap, a write beyond the address space).
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: acceptance.sh OUT_DIR}
mkdir -p "$out"
gpudoctor() { python3 -m gpudoctor "$@"; }

echo "== healthy"
gpudoctor scan | tee "$out/healthy.txt"
echo "exit ${PIPESTATUS[0]}"
gpudoctor scan --format json -o "$out/healthy.json"
gpudoctor record "$out/node.node"
gpudoctor scan --node "$out/node.node" --format json -o "$out/replayed.json"
python3 "$here/same_findings.py" "$out/healthy.json" "$out/replayed.json"

gpudoctor record --sample 1s "$out/sampled.node"
gpudoctor scan --node "$out/sampled.node" > "$out/sampled.txt"
echo "exit $?"

echo "== picture"
gpudoctor topo | tee "$out/topo.txt"
gpudoctor topo --format svg -o "$out/topo.svg"
python3 "$here/agrees_with_smi.py" | tee "$out/agrees.txt"

echo "== times"
python3 "$here/../bench/commands.py" --rounds 5 | tee "$out/times.txt"

if command -v nvcc >/dev/null; then
    nvcc -o /tmp/provoke "$here/provoke.cu"
    # "local" comes first: its Xid 43 folds under its 13, until the trap's 43 stands on its own.
    for fault in local range misaligned write trap; do
        echo "== $fault"
        /tmp/provoke "$fault"
        sleep 0.5
        gpudoctor scan -v > "$out/after-$fault.txt"
        echo "exit $?"
        gpudoctor scan --format json -o "$out/after-$fault.json"
        python3 "$here/same_findings.py" --list "$out/after-$fault.json"
    done
    gpudoctor record "$out/faults.node"
    cat "$out/after-trap.txt"
fi
