"""An edit of one's own: a fader that opens slowly over the run instead of standing still.

An edit is a frozen dataclass with four members: when it acts, the words it names, what it does to the attention, and a
line that says so. It composes with all others.
"""

from dataclasses import dataclass

import numpy as np

import wordbrush as wb


@dataclass(frozen=True)
class Rising:
    """Gates that rise evenly from 0 in the first step to 1 in the last."""

    def gates(self, target, clock):
        rise = np.linspace(0.0, 1.0, clock.evaluations)
        return np.repeat(rise[:, None], target.length, axis=1)


@dataclass(frozen=True)
class FadeIn:
    """Turn a word's attention up or down, more with every step."""

    word: str
    strength: float

    @property
    def schedule(self):
        return Rising()

    @property
    def words(self):
        return (self.word,)

    def fold(self, mix, gate, *, source, target):
        factors = np.ones(target.length)
        factors[list(target.find(self.word))] = self.strength
        return mix.scaled(factors, gate)

    def describe(self):
        return f"fade in: {self.word} towards × {self.strength:g}"


model = wb.load("storybook")
prompt = "a robot in a forest in the snow"
result = wb.edit(
    model, prompt, to=prompt, edits=[wb.Refine(), FadeIn("snow", 3.0)], blend="none", seed=4, steps=10
)
print(result.plan.describe())
result.grid().save("fade-in.png")
