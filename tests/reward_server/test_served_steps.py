"""Rewards of steps over a socket: the numbers of the direct call, the newest weights, refusals."""

import base64
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gymnasium import spaces
from reward_serving import box, draw, random_reward, served_reward, serving

from prefrl.runtime.rundir.weights import publish_weights

OBSERVED, DONE = 4, 2


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps") / "run"
    scorer, reward, _ = served_reward(folder, box(OBSERVED), box(DONE))
    with serving(scorer, largest_body=2**20, batch=5000) as served:
        yield served, reward


def some(rng, *lead):
    return rng.normal(size=(*lead, OBSERVED)), rng.normal(size=(*lead, DONE))


@pytest.mark.parametrize("lead", [(), (1,), (7,), (3, 5), (2, 3, 4)])
def test_a_step_and_batches_have_the_numbers_of_the_direct_call(steps, lead, rng):
    served, reward = steps
    seen, done = some(rng, *lead)
    asked = {"observations": seen.tolist(), "actions": done.tolist()}
    answer = served.post("/score", asked)
    assert answer.status_code == 200
    told = answer.json()
    assert set(told) == {"version", "score", "disagreement", "members"}
    assert told["version"] == 1
    members = reward.members(seen, done)
    np.testing.assert_allclose(told["score"], reward.predict(seen, done), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(told["members"], members, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(told["disagreement"], members.std(0), rtol=1e-4, atol=1e-6)
    assert np.shape(told["score"]) == lead
    assert np.shape(told["members"]) == (3, *lead)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_may_be_sent_as_bytes(steps, dtype, rng):
    served, reward = steps
    seen, done = (part.astype(dtype) for part in some(rng, 2000))

    def packed(part):
        content = base64.b64encode(part.tobytes()).decode()
        return {"base64": content, "dtype": dtype, "shape": list(part.shape)}

    answer = served.post("/score", {"observations": packed(seen), "actions": packed(done)})
    assert answer.status_code == 200, answer.text
    expected = reward.predict(seen, done)
    np.testing.assert_allclose(answer.json()["score"], expected, rtol=1e-5, atol=1e-6)


def test_choices_dicts_pictures_and_transitions_are_read_as_the_reward_reads_them(tmp_path, rng):
    space = spaces.Dict({"where": spaces.Discrete(3), "speed": box(2)})
    seen = {"where": [0, 2], "speed": [[0.0, 1.0], [2.0, 3.0]]}
    scorer, reward, _ = served_reward(tmp_path / "dict", space, spaces.Discrete(4))
    with serving(scorer) as served:
        answer = served.post("/score", {"observations": seen, "actions": [3, 1]}).json()
        arrays = {key: np.asarray(value) for key, value in seen.items()}
        np.testing.assert_allclose(
            answer["score"], reward.predict(arrays, np.array([3, 1])), atol=1e-6
        )
        for observations, actions, expected in (
            (seen, [3, 4], "expected choices of Discrete\\(4\\)"),
            (seen, [3, 0.5], "whole numbers in actions"),
            ({"where": [0, 7], "speed": seen["speed"]}, [0, 0], "expected choices of Discrete"),
            ({"where": [0, 1]}, [0, 0], "they differ in speed"),
            ([0, 1], [0, 0], "observations as an object with"),
        ):
            refused = served.post("/score", {"observations": observations, "actions": actions})
            assert refused.status_code == 422
            assert re.search(expected, refused.json()["error"]), refused.text
    picture = spaces.Box(0, 255, (8, 8, 1), np.uint8)
    scorer, reward, _ = served_reward(
        tmp_path / "pictures", picture, spaces.Discrete(3), mixed_precision=False
    )
    with serving(scorer, wait=0.05) as served, ThreadPoolExecutor(4) as threads:
        films = [rng.integers(256, size=(n, 8, 8, 1)) for n in (4, 6, 4, 1)]
        asked = [{"observations": f.tolist(), "actions": [1] * len(f)} for f in films]
        answers = list(threads.map(lambda told: served.post("/score", told).json(), asked))
        for film, answer in zip(films, answers, strict=True):
            direct = reward.predict(film.astype(np.uint8), np.ones(len(film), int))
            np.testing.assert_allclose(answer["score"], direct, atol=1e-5)
        too_bright = served.post("/score", {"observations": [[[[256]] * 8] * 8], "actions": [1]})
        assert "from 0 to 255 in observations, got 256" in too_bright.json()["error"]
    scorer, reward, _ = served_reward(tmp_path / "moves", box(2), box(1), inputs="transition")
    with serving(scorer) as served:
        asked = {"observations": [[1, 2], [3, 4]], "actions": [[0], [1]]}
        missing = served.post("/score", asked)
        assert missing.status_code == 422
        assert "expected next_observations" in missing.json()["error"]
        more = {"next_observations": [[2, 2], [0, 1]], "ended": [False, True]}
        told = {name: np.asarray(part) for name, part in (asked | more).items()}
        answer = served.post("/score", asked | more).json()
        np.testing.assert_allclose(answer["score"], reward.predict(**told), atol=1e-5)


ONE = {"observations": [0.5] * OBSERVED, "actions": [0.5] * DONE}
RUBBISH = [
    (b"", "expected an object of JSON"),
    (b"{", "expected an object of JSON"),
    (b"\xff\xfe\x00", "expected an object of JSON"),
    (b"[" * 100_000, "expected an object of JSON"),
    (b"[1, 2]", "expected an object of JSON, got [1, 2]"),
    (b"{}", "with observations and actions, and where the reward reads"),
    (json.dumps({**ONE, "reward": 1}).encode(), "got actions, observations, reward"),
    (json.dumps({**ONE, "observations": [float("nan")] * 4}).encode(), "NaN is no number in JSON"),
    (json.dumps(ONE).replace("0.5", "1e999").encode(), "finite numbers in observations"),
    (json.dumps(ONE).replace("0.5", "1e200").encode(), "finite numbers in observations"),
    (json.dumps(ONE).replace("0.5", "9" * 400).encode(), "observations as numbers"),
    (json.dumps(ONE).replace("0.5", "9" * 5000).encode(), "expected an object of JSON"),
    (json.dumps(ONE).replace("0.5", '"a"').encode(), "observations as numbers, got text"),
    (json.dumps(ONE).replace("0.5", "null").encode(), "observations as numbers, got null"),
    (json.dumps({**ONE, "observations": []}).encode(), "at least one step in observations"),
    (json.dumps({**ONE, "observations": [[1, 2], [3]]}).encode(), "in lists of equal lengths"),
    (json.dumps({**ONE, "observations": [0.5] * 3}).encode(), "observations of shape (4,)"),
    (json.dumps({**ONE, "actions": [[0.5] * 2] * 2}).encode(), "expected as many actions as"),
    (json.dumps({**ONE, "actions": {"base64": "!", "dtype": "float32", "shape": [2]}}).encode(),
     "base64 of actions that holds float32"),
    (json.dumps({**ONE, "actions": {"base64": "AAAA", "dtype": "float32", "shape": [2]}}).encode(),
     "base64 of actions that holds float32"),
    (json.dumps({**ONE, "actions": {"base64": "", "dtype": "object", "shape": [2]}}).encode(),
     "expected actions as lists of numbers, or"),
    (json.dumps({**ONE, "actions": {"base64": "", "dtype": "uint8", "shape": [-1]}}).encode(),
     "expected actions as lists of numbers, or"),
    (json.dumps({"observations": [[0.5] * 4] * 5001, "actions": [[0.5] * 2] * 5001}).encode(),
     "at most 5000 steps in a request, got 5001"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), RUBBISH, ids=range(len(RUBBISH)))
def test_what_cannot_be_scored_is_refused_with_what_was_expected(steps, body, expected):
    served, _ = steps
    refused = served.post("/score", body)
    assert refused.status_code == 422
    assert expected in refused.json()["error"]
    assert len(refused.text) < 1200  # however much was sent
    assert served.post("/score", ONE).status_code == 200


def test_the_newest_weights_are_taken_while_it_serves(tmp_path, caplog):
    scorer, reward, run = served_reward(tmp_path / "run", box(OBSERVED), box(DONE))
    with serving(scorer) as served, served.client() as client:
        before = client.post("/score", json=ONE).json()
        for version in (2, 3):
            draw(reward.net, version)
            publish_weights(run.reward, version, reward.net.state_dict(), about={})
            after = client.post("/score", json=ONE).json()
            assert (before["version"], after["version"]) == (version - 1, version)
            expected = reward.predict(np.array(ONE["observations"]), np.array(ONE["actions"]))
            assert after["score"] == pytest.approx(float(expected), abs=1e-6)
            assert after["score"] != before["score"]
            assert client.get("/health").json() == {"ok": True, "version": version}
            before = after
        path = publish_weights(run.reward, 4, reward.net.state_dict(), about={})
        path.write_bytes(b"no weights")
        with caplog.at_level(logging.ERROR):
            assert client.post("/score", json=ONE).json() == before  # the last that are whole
        assert "DAMAGED" in caplog.text
        publish_weights(run.reward, 5, {"other": reward.net.input_shift}, about={})
        with caplog.at_level(logging.ERROR):
            assert client.post("/score", json=ONE).json() == before  # those of another net
        publish_weights(run.reward, 6, reward.net.state_dict(), about={})
        assert client.post("/score", json=ONE).json() == {**before, "version": 6}


def test_many_clients_get_their_own_answers_in_few_passes(steps):
    served, reward = steps
    before = served.app.state.batcher.n_batches, served.app.state.batcher.n_requests
    n_clients, n_each = 24, 12

    def ask(client):
        rng = np.random.default_rng(client)
        found = []
        with served.client() as connection:
            for place in range(n_each):
                seen, done = some(rng, 1 + (client + place) % 5)
                told = {"observations": seen.tolist(), "actions": done.tolist()}
                answer = connection.post("/score", json=told)
                found.append((seen, done, answer.json()["score"]))
        return found

    with ThreadPoolExecutor(n_clients) as threads:
        answers = [one for found in threads.map(ask, range(n_clients)) for one in found]
    for seen, done, score in answers:
        np.testing.assert_allclose(score, reward.predict(seen, done), rtol=1e-5, atol=1e-6)
    batcher = served.app.state.batcher
    n_batches, n_requests = batcher.n_batches - before[0], batcher.n_requests - before[1]
    assert n_requests == n_clients * n_each
    assert n_batches < n_requests / 2


def test_a_reward_of_no_numbers_says_so(tmp_path):
    scorer, reward, run = served_reward(tmp_path / "run", box(OBSERVED), box(DONE))
    reward.net.biases[-1].data.fill_(float("nan"))
    publish_weights(run.reward, 2, reward.net.state_dict(), about={})
    with serving(scorer) as served:
        broken = served.post("/score", ONE)
    assert broken.status_code == 500
    assert "expected finite scores, but the reward of version 2" in broken.json()["error"]


def test_a_saved_reward_stays_as_it_is(tmp_path):
    from prefrl.control.learned.served import serve_steps
    from prefrl.runtime.rundir import RunDirectory

    folder = random_reward(box(OBSERVED), box(DONE)).save(tmp_path / "reward")
    scorer = serve_steps(RunDirectory(folder), device="cpu")
    scorer.refresh()
    assert scorer.version == 1
    asked = scorer.read(ONE)
    (scores,) = scorer.score([asked])
    reward = random_reward(box(OBSERVED), box(DONE))
    expected = reward.predict(np.array(ONE["observations"]), np.array(ONE["actions"]))
    assert float(scores.score) == pytest.approx(float(expected), abs=1e-6)
