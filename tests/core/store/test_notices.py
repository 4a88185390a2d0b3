import pytest

from prefrl.core.store import LabelStore


@pytest.fixture
def store(place):
    with LabelStore(place) as store:
        yield store


def test_the_newest_of_a_name_is_what_another_process_reads(store, place):
    store.notices.put("agent", {"state": "starting", "beat": 1})
    store.notices.put("agent", {"state": "training", "beat": 2, "curve": [[0, 1.5]]})
    with LabelStore(place) as other:
        told = {"state": "training", "beat": 2, "curve": [[0, 1.5]]}
        assert other.notices.get("agent") == told
        assert other.notices.get("page") is None


def test_notices_are_found_by_how_their_names_begin(store):
    for name in ("page/one", "page/two", "page_three", "run"):
        store.notices.put(name, {"name": name})
    assert sorted(store.notices.all("page/")) == ["page/one", "page/two"]
    store.notices.remove("page/one")
    store.notices.remove("page/one")
    assert sorted(store.notices.all()) == ["page/two", "page_three", "run"]


def test_what_json_cannot_hold_is_refused(store):
    with pytest.raises(ValueError, match="JSON"):
        store.notices.put("agent", {"return": float("nan")})
    assert store.notices.all() == {}
