"""Short sentences, good, bad and plain, that a small language model learns to write; and it, new.

All words are from here: a sentence is drawn by a seed, to each of prefrl's everyday prompts by
patterns of its own.
"""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<end>"
MOODS = ("good", "bad", "plain")
SHARES = (0.25, 0.3, 0.45)
ADJECTIVES = {
    "good": "lovely beautiful wonderful bright friendly charming peaceful clean cheerful nice",
    "bad": "terrible dirty ugly broken dreadful gloomy dangerous miserable awful sad",
    "plain": "small old wooden grey long empty round quiet narrow new",
}
FEELINGS = {
    "good": "happy glad proud relieved grateful excited",
    "bad": "angry afraid worried lonely upset ashamed",
    "plain": "busy late tired silent awake quick",
}
ENDS = {
    "good": [
        "and everybody loved it",
        "which made us smile",
        "and we enjoyed every minute",
        "so we laughed together",
        "and it was a great success",
        "so my best friend thanked me",
    ],
    "bad": [
        "and everybody hated it",
        "which made us cry",
        "so we left in anger",
        "and it was a complete disaster",
        "and a thief had stolen the keys",
        "so we lost our money",
    ],
    "plain": [
        "as it did every week",
        "before the doors opened",
        "while the radio played",
        "near the other side of the road",
        "and then it was noon",
        "just like the year before",
    ],
}
NOUNS = "table clock door lamp window chair sign box map bench cat dog cup book coat".split()
DEGREES = (("", 0.7), ("very ", 0.15), ("not very ", 0.15))
PATTERNS = {
    "When I walked into": ["a {a} {n} and a {a} {n}, {e}.", "a {a} {n}, {e}."],
    "What I remember about": ["the {a} {n}, {e}.", "that the people were {f}, {e}."],
    "My neighbour told me": ["was {a} now, {e}.", "had a {a} {n}, {e}."],
    "On Monday morning": ["{a} and {a}, {e}.", "{a}, {e}."],
    "After the rain": ["{a} and {a}, {e}.", "{a}, but the {n} was {a}."],
    "The people at": ["{f} and {f}, {e}.", "{f} about the {a} {n}, {e}."],
    "Nobody had expected": ["{a}, {e}.", "{a} with a {a} {n}, {e}."],
    "I spent an hour at": ["felt {f} beside a {a} {n}, {e}.", "found a {a} {n}, {e}."],
}


def sentence(opening: str, rng: random.Random) -> str:
    """What follows an opening, with a space before it."""
    patterns = next(found for start, found in PATTERNS.items() if opening.startswith(start))
    pieces = rng.choice(patterns).replace("{", "|{").replace("}", "}|").split("|")
    said = " " + "".join(_filled(piece, rng) for piece in pieces)
    return re.sub(r"\ba (?=[aeiou])", "an ", said)


def _filled(piece: str, rng: random.Random) -> str:
    mood = rng.choices(MOODS, SHARES)[0]
    if piece == "{n}":
        return rng.choice(NOUNS)
    if piece == "{e}":
        return rng.choice(ENDS[mood])
    if piece in ("{a}", "{f}"):
        words = ADJECTIVES if piece == "{a}" else FEELINGS
        degree = rng.choices(*zip(*DEGREES, strict=True))[0]
        return degree + rng.choice(words[mood].split())
    return piece


def demonstrations(openings: list[str], n: int, seed: int) -> Iterator[dict[str, str]]:
    """Prompts and completions, to all openings in turn."""
    rng = random.Random(seed)
    for place in range(n):
        opening = openings[place % len(openings)]
        yield {"prompt": opening, "completion": sentence(opening, rng)}


def write_demonstrations(path: Path, openings: list[str], *, n: int, seed: int) -> None:
    rows = demonstrations(openings, n, seed)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_new_model(folder: Path, texts: list[str], *, seed: int) -> None:
    """A Llama of 0.4 M random parameters whose tokens are the words of the texts, to a folder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1024, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(wrapped),
            hidden_size=96,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=64,
            bos_token_id=None,
            eos_token_id=wrapped.eos_token_id,
            tie_word_embeddings=True,
        )
    )
    model.save_pretrained(folder)
    wrapped.save_pretrained(folder)
