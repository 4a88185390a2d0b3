"""Pairs for a judge, and one that goes by their first letters."""

from prefrl.core.comparisons import Query


class Text:
    def __init__(self, id_):
        self.id = id_


def parts(first, second):
    told = (("Prompt", "go"), ("Response A", first.id), ("Response B", second.id))
    return [{"type": "text", "text": f"[{n}]\n{text}\n[End of {n}]"} for n, text in told]


N = 6
ITEMS = {f"{side}{i}": Text(f"{side}{i}") for i in range(N) for side in "ab"}
QUERIES = [Query(f"q{i}", f"a{i}", f"b{i}") for i in range(N)]


def first_letter(text):
    return -ord(text[0])  # a is better than b


def answers(store):
    return [event.answer for event in store.events()]
