import re

import pytest

from clip_viewer.instructions import read_instructions, to_html
from prefrl.errors import ConfigError

PAYLOADS = """\
<script>alert(1)</script>
<img src=x onerror=alert(1)>
<svg/onload=alert(1)>
<iframe src="javascript:alert(1)"></iframe>
<a href="javascript:alert(1)">x</a>
[x](javascript:alert(1))
[x](JaVaScRiPt:alert(1))
[x](java&#10;script:alert(1))
[x](data:text/html;base64,PHNjcmlwdD4=)
[x](vbscript:msgbox(1))
[x](file:///etc/passwd)
![x](https://evil.example/pixel.png)
![x](x"onerror="alert(1))
[x](https://a.example "t" onmouseover="alert(1))
<https://a.example"onclick=alert(1)>
[a]: javascript:alert(1)
<style>@import 'https://evil.example'</style>
<link rel=stylesheet href=https://evil.example>
<base href=https://evil.example>
<form action=https://evil.example><input name=a></form>
<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>
<noscript><p title="</noscript><img src=x onerror=alert(1)>">
<!--<img src="--><img src=x onerror=alert(1)>">
`<script>alert(1)</script>`
<details open ontoggle=alert(1)>
<p style="position:fixed">x</p>
""".splitlines()
TAG = re.compile(r"<(/?)([a-z0-9]+)([^>]*)>", re.IGNORECASE)
ATTRIBUTE = re.compile(r'\s([a-z-]+)="([^"]*)"', re.IGNORECASE)
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # what is none is a path of ours
HARMLESS = set("a blockquote br code em h1 h2 h3 h4 hr li ol p pre s strong table tbody td".split())
HARMLESS |= set("th thead tr ul".split())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_comes_out_acts_in_no_way(payload):
    html = to_html(f"before\n\n{payload}\n\nafter {payload}")
    for _, tag, attributes in TAG.findall(html):
        assert tag.lower() in HARMLESS
        for name, value in ATTRIBUTE.findall(attributes):
            assert name in {"href", "title", "target", "rel", "start"}
            if name == "href" and SCHEME.match(value):
                assert value.startswith(("http://", "https://", "mailto:"))


def test_what_is_meant_stays():
    html = to_html("# Goal\n\n- **run** [far](https://a.example)\n\n| a |\n|---|\n| b |\n")
    for part in ("<h1>Goal</h1>", "<strong>run</strong>", "<td>b</td>", 'href="https://a.example"'):
        assert part in html
    assert 'rel="noopener noreferrer"' in html


def test_the_version_follows_the_text(tmp_path):
    path = tmp_path / "instructions.md"
    path.write_text("one")
    first = read_instructions(path)
    assert read_instructions(path) == first
    path.write_text("two")
    assert read_instructions(path).rubric_ver != first.rubric_ver
    assert "Which one is better" in read_instructions(None).html


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff", b"x" * 300_000])
def test_what_cannot_be_read(tmp_path, content):
    path = tmp_path / "instructions.md"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="expected"):
        read_instructions(path)
