"""A prompt as the model reads it: its words, its tokens, and how a user's word finds both."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any, Literal

from wordbrush.checks import is_whole
from wordbrush.errors import AmbiguousWord, InvalidInput, PromptTooLong, UnknownWord, nearest


@dataclass(frozen=True)
class Word:
    """A word or phrase of a prompt; ``occurrence`` (0 is the first, or ``"all"``) tells equal ones apart."""

    text: str
    occurrence: int | Literal["all"] | None = None

    def __str__(self) -> str:
        """Return the word as the command line spells it: ``cat``, ``cat#1``, ``cat#all``."""
        return self.text if self.occurrence is None else f"{self.text}#{self.occurrence}"


# "cat" · the word at position 4 · ("cat", 1): the second "cat" · Word("cat", "all")
WordLike = str | int | tuple[str, int] | Word


@dataclass(frozen=True)
class Token:
    """One token: its text decoded alone, its id, and the characters it covers (none for added tokens)."""

    text: str
    id: int
    start: int
    end: int


# What stands between the readings of a prompt by several tokenizers.
PADDING = Token("", -1, 0, 0)


@dataclass(frozen=True)
class Span:
    """A run of characters that belongs together (a word, a punctuation mark) and the positions of its tokens."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """A tokenized prompt.

    Args:
        text: what the user wrote.
        tokens: the tokens without padding, those the tokenizer adds at the ends included.
        length: tokens *with* padding, that is the width of a cross-attention map.
        sequences: the prompt as each tokenizer reads it, for networks that attend to several readings of it, one
            after the other; ``tokens`` are then those of all of them, with the padding between them.
        head: ids of a template that the text encoder reads too and of which the network sees nothing.
    """

    text: str
    tokens: tuple[Token, ...]
    length: int
    sequences: tuple[Prompt, ...] = ()
    head: tuple[int, ...] = ()

    @classmethod
    def joined(cls, sequences: Sequence[Prompt]) -> Prompt:
        """Return several readings of one text as one prompt: a word's tokens are those of every reading."""
        *before, last = sequences
        tokens = [
            token for one in before for token in (*one.tokens, *[PADDING] * (one.length - len(one.tokens)))
        ]
        length = sum(one.length for one in sequences)
        return cls(last.text, (*tokens, *last.tokens), length, tuple(sequences))

    @property
    def reading(self) -> Prompt:
        """The prompt as one tokenizer reads it, the first one if there are several."""
        return next((one for one in self.sequences if one.tokens), self)

    @cached_property
    def words(self) -> tuple[Span, ...]:
        """The words in reading order: what stands between spaces, without the punctuation around it."""
        return tuple(Span(self.text[a:b], self.covering(a, b)) for a, b in _word_bounds(self.text))

    @cached_property
    def units(self) -> tuple[Span, ...]:
        """The same tokens as ``tokens``, grouped: a word is one unit, every other token is one by itself."""
        word_of = {token: index for index, word in enumerate(self.words) for token in word.tokens}
        groups: list[list[int]] = []
        for token in range(len(self.tokens)):
            same_word = token > 0 and token in word_of and word_of[token] == word_of.get(token - 1)
            if same_word:
                groups[-1].append(token)
            else:
                groups.append([token])
        return tuple(Span("".join(self.tokens[i].text for i in group), tuple(group)) for group in groups)

    @cached_property
    def _decomposed(self) -> tuple[str, tuple[int, ...]]:
        """The text in Unicode NFD, and the position in ``text`` that each of its characters comes from.

        A letter that is written with an accent and one whose accent follows it look the same, and are so there.
        """
        characters = [
            (part, position)
            for position, character in enumerate(self.text)
            for part in unicodedata.normalize("NFD", character)
        ]

        def order(one: tuple[str, int]) -> int:
            return unicodedata.combining(one[0])

        # Several accents of one letter have an order of their own.
        runs = [sorted(run, key=order) for _, run in groupby(characters, lambda one: order(one) > 0)]
        ordered = [one for run in runs for one in run]
        return "".join(part for part, _ in ordered), tuple(position for _, position in ordered)

    def covering(self, start: int, end: int) -> tuple[int, ...]:
        """Return the positions of the tokens that cover any character of ``text[start:end]``."""
        return tuple(
            position
            for position, token in enumerate(self.tokens)
            if max(token.start, start) < min(token.end, end)
        )

    def find(self, word: WordLike) -> tuple[int, ...]:
        """Return the token positions of a word or phrase, compared without regard to case or Unicode form.

        Raises:
            UnknownWord: it does not occur; the message names the tokens and the nearest word.
            AmbiguousWord: it occurs more than once and no occurrence was chosen.
        """
        if is_whole(word):
            return self._word_at(word)
        wanted = as_word(word)
        found = self._occurrences(wanted.text)
        if not found:
            raise UnknownWord(self._unknown(wanted.text))
        if wanted.occurrence == "all":
            return tuple(token for tokens in found for token in tokens)
        if wanted.occurrence is None:
            if len(found) > 1:
                raise self._ambiguous(wanted.text, len(found))
            return found[0]
        if not 0 <= wanted.occurrence < len(found):
            several = len(found) > 1
            raise UnknownWord(
                f"the word {wanted.text!r} occurs {f'{len(found)} times' if several else 'once'} in {self.text!r}, "
                f"so its occurrence must be {f'0 to {len(found) - 1}' if several else '0'}, not {wanted.occurrence}"
            )
        return found[wanted.occurrence]

    def has(self, word: WordLike) -> bool:
        """Tell whether ``find`` would succeed; an ambiguous word still raises."""
        try:
            return bool(self.find(word))
        except UnknownWord:
            return False

    def _occurrences(self, text: str) -> list[tuple[int, ...]]:
        whole, origin = self._decomposed
        places = [origin[slice(*match.span())] for match in _pattern(text, whole).finditer(whole)]
        return [tokens for place in places if (tokens := self.covering(min(place), max(place) + 1))]

    def _ambiguous(self, text: str, times: int) -> AmbiguousWord:
        told = f"the word {text!r} occurs {times} times in {self.text!r}: choose one with"
        one_by_one, every = [Word(text, number) for number in range(times)], Word(text, "all")
        return AmbiguousWord(
            f"{told} {' or '.join(f'({text!r}, {word.occurrence})' for word in one_by_one)}, or all with "
            f"Word({text!r}, 'all')",
            command=f"{told} {' or '.join(map(str, one_by_one))}, or all with {every}",
        )

    def _word_at(self, position: int) -> tuple[int, ...]:
        if not 0 <= position < len(self.words):
            raise UnknownWord(
                f"there is no word at position {position} in {self.text!r}: "
                + ", ".join(f"{i} {word.text!r}" for i, word in enumerate(self.words))
            )
        return self.words[position].tokens

    def _unknown(self, text: str) -> str:
        tokens = " | ".join(token.text for token in self.reading.tokens if token.end > token.start)
        near = nearest(text, [word.text for word in self.words])
        return f"the word {text!r} is not in the prompt {self.text!r}{near}; tokens: {tokens}"


def as_word(word: WordLike) -> Word:
    """Return ``word``, given by text, as a ``Word``."""
    match word:
        case Word(text=str(text)) if text.strip():
            return word
        case str(text) if text.strip():
            return Word(text)
        case (str(text), occurrence) if text.strip() and is_whole(occurrence):
            return Word(text, int(occurrence))
    raise InvalidInput(f"a word is given by its text, its position or (text, occurrence), not {word!r}")


def named(word: WordLike, prompt: Prompt | None = None) -> str:
    """Return a word as people are told of it, in the spelling of the command line: ``cat``, ``cat#1``, ``cat#all``.

    Args:
        prompt: has the word; one that is given by its position is then called by its text.
    """
    if not is_whole(word):
        return str(as_word(word))
    if prompt is None:
        return f"the word at position {word}"
    tokens, text = prompt.find(word), prompt.words[word].text
    alike = prompt._occurrences(text)
    return str(Word(text, alike.index(tokens) if len(alike) > 1 and tokens in alike else None))


def read_prompt(text: str, tokenizer: Callable[..., Any], *, length: int) -> Prompt:
    """Tokenize ``text`` for an encoder that reads ``length`` tokens (77 for CLIP).

    Raises:
        PromptTooLong: it has more tokens than that; nothing is ever cut off silently.
        InvalidInput: the tokenizer cannot say which characters a token covers.
    """
    tokens = tokens_of(text, tokenizer)
    check_length(text, len(tokens), length)
    return Prompt(text, tokens, length)


NOTHING = slice(0)


def read_framed(
    text: str,
    tokenizer: Callable[..., Any],
    *,
    before: str = "",
    after: str = "",
    head: slice = NOTHING,
    length: int,
) -> Prompt:
    """Tokenize ``text`` inside of a template, whose tokens cover none of its characters.

    Args:
        before: the template's beginning.
        after: its end.
        head: the tokens of the beginning that the network does not see.
        length: how many tokens it sees.

    Raises:
        PromptTooLong: it has more tokens than that, those of the template included.
        InvalidInput: it is no text, or the tokenizer cannot say which characters a token covers.
    """
    check_text(text)
    whole = [
        _inside(token, len(before), len(text)) for token in tokens_of(f"{before}{text}{after}", tokenizer)
    ]
    hidden = whole[head]
    del whole[head]
    check_length(text, len(whole), length)
    return Prompt(text, tuple(whole), length, head=tuple(token.id for token in hidden))


def _inside(token: Token, start: int, length: int) -> Token:
    """Return a token of a template with the characters it covers of the text inside, which begins at ``start``."""
    first, last = (min(max(place - start, 0), length) for place in (token.start, token.end))
    return replace(token, start=first, end=last) if first < last else replace(token, start=0, end=0)


def check_text(text: object) -> None:
    """Raise ``InvalidInput`` unless ``text`` is a piece of text."""
    if not isinstance(text, str):
        raise InvalidInput(f"a prompt is a piece of text, not {text!r}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput(f"the prompt {text!r} holds half of a surrogate pair, which is no character")


def check_length(text: str, tokens: int, length: int) -> None:
    """Raise ``PromptTooLong`` if a prompt has more tokens than an encoder reads."""
    if tokens > length:
        raise PromptTooLong(
            f"the prompt has {tokens} tokens but the text encoder reads {length}: shorten {text[:60]!r}…"
        )


def tokens_of(text: str, tokenizer: Callable[..., Any]) -> tuple[Token, ...]:
    """Tokenize ``text``, without padding.

    Raises:
        InvalidInput: it is no text, or the tokenizer cannot say which characters a token covers.
    """
    check_text(text)
    if not getattr(tokenizer, "is_fast", False):
        raise InvalidInput(
            f"{type(tokenizer).__name__} cannot map tokens to characters: load the 'fast' tokenizer instead"
        )
    encoding = tokenizer(text, return_offsets_mapping=True, verbose=False)
    ids: Sequence[int] = encoding["input_ids"]
    offsets: Sequence[tuple[int, int]] = encoding["offset_mapping"]
    decode = tokenizer.decode  # pyright: ignore[reportFunctionMemberAccess]
    return tuple(Token(decode([i]), i, start, end) for i, (start, end) in zip(ids, offsets, strict=True))


def _word_bounds(text: str) -> list[tuple[int, int]]:
    bounds = []
    for chunk in re.finditer(r"\S+", text):
        start, end = chunk.span()
        while start < end and _is_punctuation(text[start]):
            start += 1
        while start < end and _is_punctuation(text[end - 1]):
            end -= 1
        bounds.append((start, end) if start < end else chunk.span())
    return bounds


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


def _pattern(text: str, whole: str) -> re.Pattern[str]:
    """Match ``text`` in ``whole``, which is in Unicode NFD, where it does not continue on either side.

    What belongs to a letter, as accents do, continues a word.
    """
    text = unicodedata.normalize("NFD", text).strip()
    marks = "".join(sorted({one for one in whole + text if unicodedata.category(one).startswith("M")}))
    letter = rf"(?:[^\W_]|[{marks}])" if marks else r"[^\W_]"
    before = rf"(?<!{letter})" if re.match(letter, text) else ""
    after = rf"(?!{letter})" if re.search(rf"{letter}$", text) else ""
    return re.compile(before + r"\s+".join(map(re.escape, text.split())) + after, re.IGNORECASE)
