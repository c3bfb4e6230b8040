#!/usr/bin/env bash
# The four edits of Prompt-to-Prompt and one by instruction, on the embedded storybook models. `make demo` runs this.
set -euo pipefail
out=${OUT:-out}

echo "1/5  a word swapped"
wordbrush edit "a cat on a beach at sunset" --to "a dog on a beach at sunset" --seed 6 -o "$out/swap.png"

echo "2/5  words added"
wordbrush edit "a house by a lake" --to "a house by a lake at night" --to "a house by a lake with a balloon" \
    --seed 2 -o "$out/refine.png"

echo "3/5  a style added"
wordbrush edit "a castle near a mountain" --to "a watercolor of a castle near a mountain" \
    --to "a pencil sketch of a castle near a mountain" --seed 1 -o "$out/restyle.png"

echo "4/5  a word turned down and up"
wordbrush edit "a robot in a forest in the snow" --weight snow=-1,0,0.5,1.5,2 --seed 4 -o "$out/fader.png"

echo "5/5  an instruction"
wordbrush generate "a tree in a meadow" --seed 3 -o "$out/tree.png"
wordbrush instruct "$out/tree.png" "make it night" -o "$out/instruct.png"

echo
echo "Look at: $out/swap.png  $out/refine.png  $out/restyle.png  $out/fader.png  $out/instruct.png"
