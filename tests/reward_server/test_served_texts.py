"""Scores of texts over a socket, in our form and in those of other trainers."""

import base64
import json
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest
import requests
from reward_serving import TOKEN, publish_texts, serving, text_run

from prefrl.runtime.rundir import RunDirectory
from prefrl.text.config import align_config_from_json
from prefrl.text.nets.models import load_model
from prefrl.text.presets import ALIGN_PRESETS
from prefrl.text.served import serve_texts
from prefrl.text.trl import ensemble_reward

PROMPTS = ["one ", "one ", "or two ", "or two "]
TEXTS = ["aba", "bcb", "hm", "caab and more"]
TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m.role }}:{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant:{% endif %}"
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    run = text_run(tmp_path_factory.mktemp("texts") / "run")
    with serving(serve_texts(run, device="cpu"), wait=0.02) as served:
        yield served, ensemble_reward(run, device="cpu"), run


def items(prompts=PROMPTS, said=TEXTS):
    pairs = zip(prompts, said, strict=True)
    return {"items": [{"prompt": prompt, "response": text} for prompt, text in pairs]}


def test_a_text_and_batches_have_the_numbers_of_the_direct_call(texts):
    served, function, _ = texts
    responses = [function.response(*each) for each in zip(PROMPTS, TEXTS, strict=True)]
    members, scores = function.scores(responses)
    told = served.post("/score", items()).json()
    assert told["version"] == 3
    np.testing.assert_allclose(told["score"], scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told["members"], members, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told["disagreement"], members.std(0, correction=0), atol=1e-5)
    assert len(set(told["score"])) == 4
    for place, one in enumerate(items()["items"]):
        alone = served.post("/score", one).json()
        assert alone["score"] == pytest.approx(told["score"][place], abs=1e-5)
        assert np.shape(alone["members"]) == (len(members),)


def test_many_clients_get_their_own_answers_in_few_passes(texts):
    served, function, _ = texts
    asked = [f"{'ab' * (n % 7 + 1)} {n}" for n in range(48)]
    batcher = served.app.state.batcher
    before = batcher.n_batches
    with ThreadPoolExecutor(16) as threads:
        answers = list(
            threads.map(lambda t: served.post("/score", {"prompt": "one ", "response": t}), asked)
        )
    scores = [answer.json()["score"] for answer in answers]
    np.testing.assert_allclose(scores, function(["one "] * 48, asked), rtol=1e-4, atol=1e-5)
    assert batcher.n_batches - before < 40


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    """A run of conversations, whose template has special tokens, as those of real models do."""
    language = load_model("tiny")
    tokens = ["<|turn|>", "<|end|>"]
    language.tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    language.model.resize_token_embeddings(len(language.tokenizer))
    language.tokenizer.chat_template = TEMPLATE
    folder = tmp_path_factory.mktemp("talks")
    language.model.save_pretrained(folder / "model")
    language.tokenizer.save_pretrained(folder / "model")
    language = replace(load_model(str(folder / "model")), source="model")
    run = text_run(folder / "run", language=language, model=str(folder / "model"), chat=True)
    with serving(serve_texts(run, device="cpu")) as served:
        yield served, ensemble_reward(run, device="cpu")


ASKED = [{"role": "user", "content": "say a"}]
SAID = [{"role": "assistant", "content": "aha"}]


def test_messages_are_put_into_the_template_of_the_run(talks):
    served, function = talks
    expected = pytest.approx(function([ASKED], [SAID])[0], abs=1e-5)
    for told in (
        {"messages": ASKED + SAID},
        {"prompt": ASKED, "response": "aha"},
        {"prompt": "say a", "response": "aha"},  # the run's texts are what users say
        {"prompt": "say a", "response": SAID},
    ):
        answer = served.post("/score", told)
        assert answer.status_code == 200, answer.text
        assert answer.json()["score"] == expected


def as_openrlhf(prompts, said):
    """What openrlhf/utils/agent.py of OpenRLHF 0.11.2 sends: decoded with all special tokens."""
    return {
        "query": [prompt + text for prompt, text in zip(prompts, said, strict=True)],
        "prompts": prompts,
        "labels": [None] * len(prompts),
    }


def test_what_openrlhf_sends_is_scored_as_the_run_would(talks):
    served, function = talks
    templated = "<|turn|>user:say a<|end|><|turn|>assistant:"
    told = as_openrlhf([templated, templated, "say a"], ["aha<|end|>", "aha", "aha<|end|>"])
    url = served.url.replace("http://", f"http://prefrl:{TOKEN}@") + "/get_reward"
    # As request_api_wrapper of versions before 0.9 did: the URL is all that it is told.
    answer = requests.post(
        url=url, json=told, headers={"Content-Type": "application/json"}, timeout=180
    )
    answer.raise_for_status()
    found = answer.json()
    cut_off = function.response(ASKED, "aha", as_written=True)
    assert cut_off.tokens == function.response(ASKED, "aha").tokens[:-1]
    whole = function([ASKED], [SAID])[0]
    expected = [whole, function.scores([cut_off])[1].item(), whole]
    np.testing.assert_allclose(found["rewards"], expected, atol=1e-5)
    assert abs(expected[0] - expected[1]) > 1e-4
    assert found["scores"] == found["rewards"]
    assert found["extra_logs"]["reward_version"] == [3.0] * 3
    assert len(found["extra_logs"]["reward_disagreement"]) == 3


def test_the_bytes_of_openrlhfs_client_are_answered(texts):
    """The request as OpenRLHF 0.11.2 was seen to send it, by aiohttp 3.14.5."""
    served, function, _ = texts
    body = json.dumps(as_openrlhf(["one "], ["aba"])).encode()
    secret = base64.b64encode(f"prefrl:{TOKEN}".encode()).decode()
    head = (
        f"POST /get_reward HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nAccept: */*\r\n"
        "Accept-Encoding: gzip, deflate\r\nUser-Agent: Python/3.11 aiohttp/3.14.5\r\n"
        f"Authorization: Basic {secret}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/json\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port), 10) as connection:
        connection.sendall(head.encode() + body)
        said = b""
        while b"extra_logs" not in said:
            said += connection.recv(65536)
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: application/json" in said
    found = json.loads(said.partition(b"\r\n\r\n")[2])
    cut_off = function.response("one ", "aba", as_written=True)
    assert found["rewards"] == pytest.approx(function.scores([cut_off])[1].tolist(), abs=1e-5)


def test_what_slime_sends_is_answered_with_a_number(talks):
    served, function = talks
    whole = pytest.approx(function([ASKED], [SAID])[0], abs=1e-5)
    for prompt in (ASKED, "<|turn|>user:say a<|end|><|turn|>assistant:"):
        told = {"prompt": prompt, "response": "aha<|end|>", "label": "a"}
        assert served.post("/slime", told).json() == whole
    refused = served.post("/slime", {"prompt": "a", "answer": "b"})
    assert (refused.status_code, "as slime sends" in refused.json()["error"]) == (422, True)


RUBBISH = [
    ("/score", {}, r'expected the request as \{"prompt"'),
    ("/score", {"prompt": "a"}, "expected the request as"),
    ("/score", {"prompt": "", "response": "b"}, "expected the request as"),
    ("/score", {"prompt": "a", "response": 3}, "expected the request as"),
    ("/score", {"prompt": 3, "response": "b"}, "expected the request as"),
    ("/score", {"prompt": "a", "response": "b", "label": 1}, "expected the request as"),
    ("/score", {"prompt": "a", "response": "b", "as_written": "no"}, "expected the request as"),
    ("/score", {"messages": [{"role": "user", "content": "a"}]}, "expected the request as"),
    ("/score", {"items": []}, "at least one of them"),
    ("/score", {"items": {"prompt": "a", "response": "b"}}, "at least one of them"),
    ("/score", {"items": [{"prompt": "a", "response": "b"}, "c"]}, "expected item 1 as"),
    ("/score", {"prompt": "a" * 200, "response": "b" * 100}, "at most 256 tokens"),
    ("/score", {"messages": [{"role": "user", "content": "a"},
                             {"role": "assistant", "content": "b"}]}, "expected a chat template"),
    ("/score", {"items": [{"prompt": "a" * 100, "response": "b" * 99}] * 200},
     "at most 32768 tokens in a request, got 40000"),
    ("/get_reward", {"query": ["ab"]}, "as many prompts as queries"),
    ("/get_reward", {"query": [], "prompts": [], "labels": []}, "at least one"),
    ("/get_reward", {"query": ["ab"], "prompts": [3]}, "as many prompts as queries"),
    ("/get_reward", {"query": ["ab", "c"], "prompts": ["a"]}, "as many prompts as queries"),
    ("/get_reward", {"query": ["ab"], "prompts": ["b"]}, "query 0 to begin with its prompt"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "told", "expected"), RUBBISH, ids=range(len(RUBBISH)))
def test_what_cannot_be_scored_is_refused_with_what_was_expected(texts, path, told, expected):
    refused = texts[0].post(path, told)
    assert refused.status_code == 422
    assert re.search(expected, refused.json()["error"]), refused.text
    assert len(refused.text) < 1200


def test_the_newest_weights_are_taken_while_it_serves(tmp_path):
    run = text_run(tmp_path / "run", version=1)
    config = align_config_from_json(run.read_json(run.config))
    with serving(serve_texts(run, device="cpu")) as served, served.client() as client:
        before = client.post("/score", json=items()).json()
        publish_texts(run, config, load_model("tiny"), seed=9, version=2)
        after = client.post("/score", json=items()).json()
    assert (before["version"], after["version"]) == (1, 2)
    direct = ensemble_reward(run, device="cpu")(PROMPTS, TEXTS)
    np.testing.assert_allclose(after["score"], direct, rtol=1e-4, atol=1e-5)
    assert not np.allclose(after["score"], before["score"], atol=1e-3)


def test_a_run_that_still_trains_is_served_with_what_it_publishes(tmp_path):
    """A real training beside the server: answers come from versions as they are published."""
    from prefrl.text.train import align

    (tmp_path / "prompts.txt").write_text("".join(f"{w} \n" for w in "one or two of the".split()))
    config = replace(
        ALIGN_PRESETS["tiny"],
        prompts=tmp_path / "prompts.txt",
        run=tmp_path / "run",
        responses=512,
        labels=40,
        sync=True,
    )
    trains = threading.Thread(target=align, args=(config,))
    trains.start()
    run = RunDirectory(tmp_path / "run")
    while trains.is_alive() and not list(run.reward.glob("*.safetensors")):
        trains.join(0.02)
    versions = set()
    with serving(serve_texts(run, device="cpu")) as served, served.client() as client:
        while True:
            was_alive = trains.is_alive()
            answer = client.post("/score", json=items())
            assert answer.status_code == 200, answer.text
            versions.add(answer.json()["version"])
            if not was_alive:
                break
            trains.join(0.05)
        last = answer.json()
    direct = ensemble_reward(run, device="cpu")
    assert last["version"] == direct.version == max(versions)
    assert len(versions) > 1
    np.testing.assert_allclose(last["score"], direct(PROMPTS, TEXTS), rtol=1e-4, atol=1e-5)


def test_a_password_in_the_url_is_the_token(texts):
    url = texts[0].url.replace("http://", f"http://anybody:{TOKEN}@")
    assert httpx.get(f"{url}/about").json()["kind"] == "texts"
    assert httpx.get(f"{url}/about".replace(TOKEN, "another-token")).status_code == 401
