"""Nothing of the disk but the media that the store names can be reached."""

import pickle

import pytest
from pages import PLAIN, serving

from prefrl.core.store import LabelStore
from prefrl.runtime.rundir.media import add_medium


class Payload:
    """Would leave a file behind if anybody unpickled it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("media"), PLAIN) as study:
        yield study


@pytest.fixture(scope="module")
def client(study):
    with study.client("anna") as client:
        yield client


def film(study):
    with LabelStore(study.run.labels) as store:
        return store.media.of(["clip0a"])["clip0a"].media_id


def test_a_film_and_a_text(study, client):
    answer = client.get(f"/media/{film(study)}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/webm"
    assert answer.content == (study.run.media / f"{film(study)}.webm").read_bytes()
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    "path",
    [
        "../labels.db", "..%2flabels.db", "%2e%2e/labels.db", "%2e%2e%2flabels.db",
        "%252e%252e%252flabels.db", "..;/labels.db", "....//labels.db", "/etc/passwd",
        "//etc/passwd", "C:\\windows\\win.ini", "\\\\server\\share", "a%00b", "%00", ".", "",
        "0" * 32, "A" * 32, "0" * 31, "0" * 33, "0" * 4000,
    ],
)  # fmt: skip
def test_paths_that_lead_elsewhere(study, client, path):
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    host = study.address.removeprefix("http://")
    told = study.raw(f"GET /media/{path} HTTP/1.1", f"Host: {host}", f"Cookie: {cookie}")
    assert told.split()[1] in ("401", "404"), told  # never 200, never 500


def test_a_link_out_of_the_folder_and_a_file_that_is_gone(study, client, tmp_path):
    secret = tmp_path / "secret.webm"
    secret.write_text("secret")
    linked, gone = "b" * 32, "c" * 32
    (study.run.media / f"{linked}.webm").symlink_to(secret)
    with LabelStore(study.run.labels) as store:
        store.media.add("linked", linked, "video/webm")
        store.media.add("gone", gone, "video/webm")
        store.media.add("page", "d" * 32, "text/html")  # a type that nobody shows
    (study.run.media / f"{'d' * 32}.html").write_text("<script>")
    for media_id in (linked, gone, "d" * 32):
        answer = client.get(f"/media/{media_id}")
        assert answer.status_code == 404
        assert "secret" not in answer.text
    with LabelStore(study.run.labels) as store:
        # What is lost can be made again; what lies there and is refused would be refused again.
        assert set(store.media.of(["linked", "gone", "page"])) == {"linked", "page"}


def test_a_pickle_among_the_media_is_bytes_like_any_other(study, client, tmp_path):
    trap = tmp_path / "sprung"
    content = pickle.dumps(Payload(trap))
    media_id = add_medium(study.run.media, content, "application/json")
    (study.run.media / "loose.pkl").write_bytes(content)
    with LabelStore(study.run.labels) as store:
        store.media.add("pickled", media_id, "application/json")
    answer = client.get(f"/media/{media_id}")
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.post("/api/tasks", json={"n": 4}).status_code == 200
    assert not trap.exists()


def test_one_range_at_a_time(study, client):
    address = f"/media/{film(study)}"

    def part(told):
        return client.get(address, headers={"Range": told})

    assert part("bytes=0-9").status_code == 206
    assert len(part("bytes=0-9").content) == 10
    assert part("bytes=0-0,1-1").status_code == 416
    assert part("bytes=" + ",".join(f"{i}-{i}" for i in range(1500))).status_code == 416
    assert part("bytes=99999999-").status_code == 416
    for nonsense in ("bytes=a-b", "lines=1-2", "bytes=5-1", "x" * 3000):
        assert part(nonsense).status_code in (200, 400, 416)


def test_nobody_without_a_session(study):
    with study.client() as nobody:
        assert nobody.get(f"/media/{film(study)}").status_code == 401
