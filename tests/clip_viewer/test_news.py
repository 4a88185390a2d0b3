import json

import pytest

from clip_viewer.news import RunNews


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"troubles": ["30 of 30 answers are ties."]}, ["30 of 30 answers are ties."]),
        ({"troubles": []}, []),
        ({"env_steps": 3}, []),
        ({"troubles": "rubbish"}, []),
        ("rubbish", []),
    ],
)
def test_what_keeps_the_agent_from_learning_is_news(tmp_path, about, expected):
    (tmp_path / "agent.json").write_text(json.dumps({"state": "acting", "about": about}))
    assert RunNews(None, tmp_path, None).agent().troubles == expected
