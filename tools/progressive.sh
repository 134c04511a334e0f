#!/usr/bin/env bash
# The bundled model's pipeline (make progressive): carries it from 512 to 32,768 positions through searches and
# fine-tunings (configs/byte-llama-progressive.toml), evaluates and exports it. About 40 minutes on two cores. Stopped or
# killed, it continues when it is started again.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LONGROPE=build/bin/longrope TEXT=models/byte-llama/text OUT=build/progressive
readonly DATABASE=$OUT/byte-llama.db
mkdir -p "$OUT"

documents() {  # NAME LENGTH COUNT TEXT
  local out="$OUT/$1-$2.safetensors"
  [ -e "$out" ] || "$LONGROPE" documents --length "$2" --count "$3" --out "$out" "$4"
}
passkey() {  # LENGTH
  [ -e "$OUT/passkey-$1.safetensors" ] || .venv/bin/python tools/prepare_documents.py --byte-level --kind passkey \
    --length "$1" --depths 0,0.5,1 --samples 2 --seed 1 --out "$OUT/passkey-$1.safetensors"
}

# The second half of the held-out text is for the tables at the end alone: no stage chooses by it.
half=$(($(stat -c %s "$TEXT/heldout.txt") / 2))
head -c "$half" "$TEXT/heldout.txt" > "$OUT/heldout.txt"
tail -c "$half" "$TEXT/heldout.txt" > "$OUT/final.txt"
documents search 512 16 "$TEXT/search.txt"
documents heldout 512 16 "$OUT/heldout.txt"
documents search 2048 3 "$TEXT/search.txt"
documents heldout 2048 6 "$OUT/heldout.txt"
documents search 4096 2 "$TEXT/search.txt"
documents heldout 4096 3 "$OUT/heldout.txt"
documents search 32768 1 "$TEXT/search.txt"
documents heldout 32768 1 "$OUT/heldout.txt"
documents final 512 64 "$OUT/final.txt"
documents final 32768 1 "$OUT/final.txt"
for length in 2048 4096; do
  [ -e "$OUT/train-$length.safetensors" ] ||
    "$LONGROPE" documents --length "$length" --eos 257 --out "$OUT/train-$length.safetensors" "$TEXT/train.txt"
done
passkey 512
passkey 4096

"$LONGROPE" run configs/byte-llama-progressive.toml --db "$DATABASE"
"$LONGROPE" stage list --db "$DATABASE"
"$LONGROPE" report --db "$DATABASE" --out "$OUT/report.html"
echo
echo "Report: $OUT/report.html"
