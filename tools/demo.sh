#!/usr/bin/env bash
# The demo (make demo): searches factors that take the bundled byte-level model from 512 to 4,096 positions, with a
# coordinator and two workers on this machine, and exports the best as a Hugging Face model directory.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LONGROPE=build/bin/longrope MODEL=models/byte-llama OUT=build/demo
readonly DATABASE=$OUT/search.db EXPORT=$OUT/byte-llama-4096
rm -rf "$OUT"
mkdir -p "$OUT"

"$LONGROPE" documents --length 4096 --count 3 --out "$OUT/search.safetensors" "$MODEL/text/search.txt"
"$LONGROPE" documents --length 4096 --count 6 --out "$OUT/heldout.safetensors" "$MODEL/text/heldout.txt"
"$LONGROPE" run configs/byte-llama-demo.toml --db "$DATABASE" --workers 2
"$LONGROPE" best --db "$DATABASE"
"$LONGROPE" export --db "$DATABASE" --model "$MODEL" --format hf --out "$EXPORT"

echo
echo "Exported model: $EXPORT"
echo "Look into the search: sqlite3 -readonly -box $DATABASE 'SELECT k, origin, perplexity, heldout_perplexity FROM v_history;'"
