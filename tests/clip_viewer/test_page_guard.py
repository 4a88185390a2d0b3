"""Everything that is not known to be allowed is refused, by the real server, before any route."""

import json
import time

import httpx
import pytest
from pages import PLAIN, serving

from clip_viewer.app import create_app
from clip_viewer.config import ViewerConfig
from clip_viewer.guard import Guard
from clip_viewer.limits import RateLimit
from prefrl.errors import ConfigError

OWNERS_ONLY = {
    "/api/people/{name}/admit",
    "/api/statistics", "/api/labels.jsonl", "/api/people", "/api/people/{name}", "/api/flagged",
    "/api/standings",
}  # fmt: skip
PUBLIC = {("GET", "/"), ("GET", "/dashboard"), ("GET", "/healthz"), ("GET", "/favicon.ico")}
BODIES = {
    "/api/tasks": {"n": 1},
    "/api/events": {"events": []},
    "/api/release": {"tasks": []},
    "/api/people": {"annotator": "eve"},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("guarded"), PLAIN) as study:
        yield study


def routes():
    """All routes of the application, as they are now."""
    app = create_app(
        ViewerConfig(store="sqlite://", media=PLACE / "media", people=PLACE / "people.db")
    )
    return sorted(
        (method, path)
        for path, methods in app.openapi()["paths"].items()
        for method in map(str.upper, methods)
    )


@pytest.fixture(scope="module", autouse=True)
def _place(tmp_path_factory):
    global PLACE
    PLACE = tmp_path_factory.mktemp("place")


def send(client, method, path):
    body = BODIES.get(path)
    path = path.replace("{name}", "nobody").replace("{media_id}", "0" * 32)
    params = {"query": "clip0"} if path == "/api/flagged" else None
    return client.request(method, path, json=body if method == "POST" else None, params=params)


def test_every_route_wants_a_session_a_token_and_its_own_page(study):
    known = [route for route in routes() if route not in PUBLIC]
    assert len(known) >= 12
    with (
        study.client() as nobody,
        study.client("anna") as anna,
        study.client("bob") as tokenless,
        study.client("eve", origin="http://evil.example") as elsewhere,
        study.client("tim", origin="null") as sandboxed,
        study.client("ulf") as unsaid,
    ):
        del tokenless.headers["X-Prefrl-Token"], unsaid.headers["Origin"]
        for method, path in known:
            if (method, path) == ("POST", "/api/session"):
                continue
            assert send(nobody, method, path).status_code == 401, (method, path)
            if method == "GET":
                continue
            assert send(tokenless, method, path).status_code == 403, (method, path)
            for other in (elsewhere, sandboxed, unsaid):
                refused = send(other, method, path)
                assert refused.status_code == 403, (method, path)
                assert "own page" in refused.json()["error"]
        for path in {path for _, path in known}:
            for method in ("PUT", "PATCH", "TRACE", "OPTIONS", "FOO"):
                assert send(anna, method, path).status_code == 405, (method, path)


def test_what_belongs_to_the_owner(study):
    with (
        study.client("anna") as anna,
        study.client("boss", "owner") as owner,
    ):
        seen = {path for _, path in routes() if path in OWNERS_ONLY}
        assert seen == OWNERS_ONLY
        for method, path in routes():
            if path in OWNERS_ONLY:
                assert send(anna, method, path).status_code == 403, (method, path)
                assert send(owner, method, path).status_code in (200, 204, 404), (method, path)


def test_who_labels_is_not_told_how_good_the_agent_is(study):
    study.run.metrics.write_text("env_steps,true_return_mean\n100,12\n200,34\n")
    with study.client("lea") as lea, study.client("boss", "owner") as owner:
        told, shown = (one.get("/api/progress").json() for one in (lea, owner))
    assert (told["curve"], told["agent"]["return"]) == ([], None)
    assert (shown["curve"], shown["agent"]["return"]) == ([[100, 12], [200, 34]], 34)


def test_a_new_route_is_guarded_by_itself():
    app = create_app(
        ViewerConfig(store="sqlite://", media=PLACE / "media", people=PLACE / "people.db")
    )
    assert app.user_middleware[0].cls is Guard  # around all that comes later

    @app.post("/api/brand-new")
    async def new():
        return {"secret": True}

    transport = httpx.ASGITransport(app)

    async def ask():
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8770"
        ) as client:
            own = {"Origin": "http://127.0.0.1:8770"}
            return [
                (await client.post("/api/brand-new")).status_code,
                (await client.post("/api/brand-new", headers=own)).status_code,
            ]

    import asyncio

    assert asyncio.run(ask()) == [403, 401]


@pytest.mark.parametrize(
    ("site", "status"),
    [("same-origin", 200), ("same-site", 403), ("cross-site", 403), ("none", 403)],
)
def test_what_the_browser_says_of_the_sender(study, site, status):
    with study.client("anna") as anna:
        headers = {"Sec-Fetch-Site": site}
        assert anna.post("/api/tasks", json={"n": 0}, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1:{port}", True), ("localhost:{port}", True), ("LOCALHOST:{port}", True),
        ("localhost.:{port}", True), ("[::1]:{port}", True),
        ("127.0.0.1", False), ("127.0.0.1:1", False), ("evil.example:{port}", False),
        ("127.0.0.1.evil.example:{port}", False), ("evil.example/127.0.0.1:{port}", False),
        ("localhost:{port}@evil.example", False), ("[::1]", False), ("0.0.0.0:{port}", False),
        ("", False), (":{port}", False), ("localhost:{port}, evil.example", False),
    ],
)  # fmt: skip
def test_only_our_own_names(study, host, is_ours):
    """A page elsewhere may give us a name of its own (DNS rebinding): its Host gives it away."""
    told = study.raw("GET /healthz HTTP/1.1", f"Host: {host.format(port=study.port)}")
    assert told.split()[1] == ("200" if is_ours else "400")


def test_no_host_or_two(study):
    ours = f"Host: 127.0.0.1:{study.port}"
    assert study.raw("GET /healthz HTTP/1.1").split()[1] == "400"
    assert study.raw("GET /healthz HTTP/1.1", ours, ours).split()[1] == "400"
    forwarded = "X-Forwarded-Host: evil.example"
    assert study.raw("GET /healthz HTTP/1.1", ours, forwarded).split()[1] == "200"
    assert (
        study.raw("GET /healthz HTTP/1.1", "Host: evil.example", f"X-Forwarded-{ours}").split()[1]
        == "400"
    )


def test_headers_on_every_kind_of_answer(study):
    with study.client("anna") as anna:
        answers = [
            anna.get("/"), anna.get("/static/page.js"), anna.get("/api/me"), anna.get("/nowhere"),
            anna.get("/api/statistics"), anna.post("/api/tasks", content="{"),
            anna.get("/healthz", headers={"Host": "evil.example"}),
        ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 403, 415, 400]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
    for page in ("/", "/dashboard"):
        html = httpx.get(study.address + page).text
        assert "<style" not in html
        assert " on" + "click=" not in html
        assert html.count("<script") == html.count('<script type="module" src="static/') == 1
        assert "//" not in html.replace("<!doctype html>", "")  # nothing from another server


def test_sizes_types_and_nonsense(study):
    with study.client("anna") as anna:
        json_type = {"Content-Type": "application/json"}

        def status(content, path="/api/events", headers=json_type):
            return anna.post(path, content=content, headers=headers).status_code

        assert status(b"x" * 300_000) == 413
        assert status(iter([b"x" * 200_000] * 2)) == 413  # without saying so before
        assert status(b"{}", headers={"Content-Type": "text/plain"}) == 415
        assert status(b"{") == 422
        assert status(b"\xff\xfe") in (400, 422)
        assert status(b"[" * 100_000) in (400, 422)
        assert status(b'{"events": 3}') == 422
        too_many = [{"kind": "flag", "submission_key": "a" * 8, "task": "t", "raised": True}] * 51
        assert status(json.dumps({"events": too_many}).encode()) == 422
        assert status(b'{"n": 1, "unknown": 2}', path="/api/tasks") == 422


def test_who_asks_too_often_has_to_wait(study):
    with study.client("hasty") as hasty:
        answers = [hasty.post("/api/release", json={"tasks": []}) for _ in range(160)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert {answer.status_code for answer in answers} == {204, 429}
        time.sleep(int(refused[0].headers["Retry-After"]))
        assert hasty.post("/api/release", json={"tasks": []}).status_code == 204


def test_guessing_links(study):
    own = {"Origin": study.address}
    told = [
        httpx.post(f"{study.address}/api/session", json={"token": f"guess{i}"}, headers=own)
        for i in range(15)
    ]
    assert {answer.status_code for answer in told} == {403, 429}


def test_a_limit_is_refilled_and_forgets():
    now = [0.0]
    limit = RateLimit(per_second=2, burst=3, clock=lambda: now[0])
    assert [limit.wait("ann") for _ in range(4)] == [0, 0, 0, 1]
    assert limit.wait("bob") == 0
    now[0] += 0.5
    assert [limit.wait("ann") for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "example.org"])
def test_other_machines_only_when_asked_for(tmp_path, host):
    about = {"store": "sqlite://", "media": tmp_path, "people": tmp_path / "p", "host": host}
    with pytest.raises(ConfigError, match="ssh -L"):
        ViewerConfig(**about)
    with pytest.raises(ConfigError, match=r"--page\.hosts"):
        ViewerConfig(**about, expose=True)
    config = ViewerConfig(**about, expose=True, allowed_hosts=("Labels.Example.org",))
    assert "labels.example.org:8770" in config.hosts
    assert not config.is_local


@pytest.mark.parametrize("other", ['a={"x":1}', "a=x y", "foo"])
def test_cookies_of_other_programs_do_no_harm(study, other):
    """Cookies are shared by all ports of a machine."""
    own = f"{study.cookie}={study.session('anna')}"
    for cookie in (f"{other}; {own}", f"{own}; {other}"):
        answer = httpx.get(f"{study.address}/api/me", headers={"Cookie": cookie})
        assert answer.status_code == 200
