"""All that the pages say is in one file per language: the same in each, and nothing in the code."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import clip_viewer
from clip_viewer.instructions import read_instructions
from clip_viewer.words import LANGUAGES, in_words, language_of, refused, say
from prefrl.web import requests

PACKAGE = Path(clip_viewer.__file__).parent
STATIC = PACKAGE / "static"
WORDS = {tag: json.loads((STATIC / "words" / f"{tag}.json").read_text()) for tag in LANGUAGES}
# What looks like a sentence and is none: names of keys and of types, selectors, marks for tests.
NO_WORDS = re.compile(
    r"^(Arrow(Up|Down|Left|Right)|Backspace|Enter|Escape|Shift|Control|Alt|Meta|BUTTON|VIDEO"
    r"|GET|POST|DELETE|Accept-Language|Accept-Ranges|Content-(Type|Range|Length)|Retry-After"
    r"|X-Prefrl-Token|English|Deutsch|answers wait|the server is away"
    r"|xMid.*|0 0 .*|.*data-action.*|.*dialog\[open\].*|.*#curve polyline.*"
    r"|\.showing\.shown video|input, textarea, select, \[contenteditable\]|\.text, \.prompt"
    r"|button, a|notice title|prefrl-(page|media) .*|showing (films|texts))$",
    re.DOTALL,
)
LITERAL = re.compile(
    r"""/\*.*?\*/|(?<!:)//[^\n]*|"((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)'|`((?:[^`\\]|\\.)*)`""",
    re.DOTALL,
)


def literals(code):
    """What stands in quotes in a script; of a template the parts between its values."""
    for found in LITERAL.finditer(code):
        text = next(filter(None, found.groups()), "")
        if found[3] is None:
            yield text
            continue
        yield from literals(" ".join(re.findall(r"\$\{((?:[^{}]|\{[^{}]*\})*)\}", text)))
        yield re.sub(r"\$\{(?:[^{}]|\{[^{}]*\})*\}", "\N{OBJECT REPLACEMENT CHARACTER}", text)


def said(code):
    """What of it somebody would read."""
    looks = re.compile(r"[^\W\d_]{2,},? [^\W\d_]{2,}|^[\s●]*[A-ZÄÖÜ][^\W\d_]+|[A-Za-z]+\u2019[a-z]")
    return [text for text in literals(code) if looks.search(text) and not NO_WORDS.match(text)]


class Page(HTMLParser):
    """Collects what a page says by itself."""

    def __init__(self, code):
        super().__init__()
        self.said, self._silent = [], 0
        self.feed(code)

    def handle_starttag(self, tag, attributes):
        self._silent += tag in ("noscript", "title", "kbd", "output")
        told = dict(attributes)
        self.said += [told[n] for n in ("aria-label", "placeholder", "title", "alt") if n in told]

    def handle_endtag(self, tag):
        self._silent -= tag in ("noscript", "title", "kbd", "output")

    def handle_data(self, data):
        if not self._silent and data != "prefrl" and re.search(r"[^\W\d_]{2}", data):
            self.said.append(data)


def forms(value):
    return value if isinstance(value, dict) else {"other": value}


def placeholders(text):
    return sorted(re.findall(r"\{\w+\}", text))


@pytest.mark.parametrize("tag", LANGUAGES)
def test_each_language_says_the_same(tag):
    english, words = WORDS["en"], WORDS[tag]
    assert list(words) == list(english)  # also in the same order, to be read side by side
    for key, value in words.items():
        assert isinstance(value, dict) == isinstance(english[key], dict), key
        assert forms(value).keys() <= {"zero", "one", "two", "few", "many", "other"}, key
        for text in forms(value).values():
            assert text.strip(), key
            # In its singular a language may leave the number out.
            wanted = placeholders(forms(english[key])["other"])
            assert placeholders(text) in (wanted, [p for p in wanted if p != "{n}"]), key
    if tag != "en":
        same = [key for key in words if words[key] == english[key] and len(str(words[key])) > 20]
        assert not same  # nothing was left as it was


def test_every_language_is_offered_and_has_instructions():
    told = (STATIC / "words.js").read_text()
    offered = re.search(r"LANGUAGES = \{(.*?)\}", told)[1]
    assert sorted(re.findall(r"(\w+):", offered)) == sorted(LANGUAGES)
    texts = [read_instructions(None, tag) for tag in LANGUAGES]
    assert len({text.rubric_ver for text in texts}) == len(LANGUAGES)


def test_no_word_is_left_in_the_code():
    scripts = {path.name: said(path.read_text()) for path in STATIC.glob("*.js")}
    pages = {path.name: Page(path.read_text()).said for path in STATIC.glob("*.html")}
    assert {name: left for name, left in (scripts | pages).items() if left} == {}


def test_words_in_the_code_are_found():
    code = 'a("Please wait."); b = `Saved ${n} of ${m}`; // "Not this one."\nc("left-right", "ok");'
    assert said(code) == ["Please wait.", "Saved \ufffc of \ufffc"]
    assert said('f(`${n === 1 ? "one thing" : "more things"}`)') == ["one thing", "more things"]
    assert said('label = "Tie"; kind = "tie"; x = "don\u2019t"') == ["Tie", "don\u2019t"]
    page = '<p data-word="a"></p><p aria-label="Tools">Go on <b>now</b></p><title>x y</title>'
    assert Page(page).said == ["Tools", "Go on ", "now"]


def test_what_is_named_exists_and_what_exists_is_named():
    code = "".join(path.read_text() for path in [*STATIC.glob("*.js"), *PACKAGE.glob("*.py")])
    pages = "".join(path.read_text() for path in STATIC.glob("*.html"))
    named = set(re.findall(r'data-word(?:-label|-hint)?="([^"]+)"', pages))
    named |= set(re.findall(r'\b(?:say|word)\("([^"]+)"', code))
    named |= set(re.findall(r'refused\(\s*\d+, "([^"]+)"', code))
    named |= set(re.findall(r'key="([^"]+)"', Path(requests.__file__).read_text()))
    assert named - WORDS["en"].keys() == set()
    # Some keys are put together: what stands before the first value is how they begin.
    begins = tuple(re.findall(r"`((?:[a-z]+\.)+)\$\{", code))
    quoted = set(re.findall(r'"([a-z][\w.-]+)"', code))
    unused = [k for k in WORDS["en"] if k not in named | quoted and not k.startswith(begins)]
    assert unused == []


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("de", "de"),
        ("de-CH, de;q=0.9, en;q=0.5", "de"),
        ("fr, en;q=0.5, de;q=0.8", "de"),
        ("fr-FR", "en"),
        ("de;q=0, en", "en"),
        ("*", "en"),
        ("de;q=nonsense, DE-AT", "de"),
        ("\0,;;q=,=", "en"),
    ],
)
def test_the_server_says_it_in_the_readers_language(accepted, language):
    assert language_of(accepted) == language


def test_what_all_our_servers_refuse_is_said_in_the_same_words():
    scope = {"headers": [(b"host", b"evil.example")]}
    with pytest.raises(requests.Refusal) as host:
        requests.host_of(scope, ["localhost:1"])
    with pytest.raises(requests.Refusal) as method:
        requests.check_method({"method": "PUT"}, ["GET"])
    for refusal in (host.value, method.value, refused(403, "refused.token")):
        assert in_words(refusal, "en") == str(refusal)
        assert in_words(refusal, "de") == say("de", refusal.key, **refusal.values) != str(refusal)
    assert in_words(requests.Refusal(503, "The server ends."), "de") == "The server ends."


def test_a_sentence_of_the_server():
    assert say("en", "refused.too-fast", n=3) == "Too fast; again in 3 s."
    assert say("de", "refused.too-fast", n=3) == "Zu schnell; wieder in 3 s."
