#!/usr/bin/env bash
# The four edits of Prompt-to-Prompt on the embedded storybook model. `make demo` runs this.
set -euo pipefail
out=${OUT:-out}

echo "1/4  a word swapped"
wordbrush edit "a cat on a beach at sunset" --to "a dog on a beach at sunset" --seed 3 -o "$out/swap.png"

echo "2/4  words added"
wordbrush edit "a house by a lake" --to "a house by a lake at night" --to "a house by a lake with a balloon" \
    --seed 2 -o "$out/refine.png"

echo "3/4  a style added"
wordbrush edit "a castle near a mountain" --to "a watercolor of a castle near a mountain" \
    --to "a pencil sketch of a castle near a mountain" --seed 1 -o "$out/restyle.png"

echo "4/4  a word turned down and up"
wordbrush edit "a robot in a forest in the snow" --weight snow=-1,0,0.5,1.5,2 --seed 4 -o "$out/fader.png"

echo
echo "Look at: $out/swap.png  $out/refine.png  $out/restyle.png  $out/fader.png"
