import torch

from prefrl.text.nets.logprobs import collate, sequence_logprobs, token_logprobs
from prefrl.text.nets.models import load_model
from prefrl.text.responses import Response

SHORT = Response("", "", (1, 2), (3, 4, 5))
LONG = Response("", "", (9, 8, 7, 6, 5), (4, 3, 2, 1, 0, 11))


def by_a_loop(language, response, temperature=1.0):
    """Log-probabilities of a response on its own, a token at a time."""
    seen, found = list(response.prompt_tokens), []
    for token in response.tokens:
        logits = language.model(torch.tensor([seen])).logits[0, -1] / temperature
        found.append(float(logits.log_softmax(0)[token]))
        seen.append(token)
    return torch.tensor(found)


@torch.no_grad()
def test_filled_up_or_not_and_with_a_temperature_the_log_probabilities_are_those_of_a_loop():
    language = load_model("tiny")
    got = token_logprobs(language, collate([SHORT, LONG]), temperature=0.7)
    assert torch.allclose(got[0, :3], by_a_loop(language, SHORT, 0.7), atol=1e-5)
    assert torch.allclose(got[1], by_a_loop(language, LONG, 0.7), atol=1e-5)
    assert torch.all(got[0, 3:] == 0)


@torch.no_grad()
def test_a_later_token_changes_nothing_before_it():
    language = load_model("tiny")
    other = Response("", "", SHORT.prompt_tokens, (*SHORT.tokens[:-1], 99))
    first, second = (token_logprobs(language, collate([r])) for r in (SHORT, other))
    assert torch.equal(first[:, :-1], second[:, :-1])
    assert not torch.equal(first[:, -1], second[:, -1])


@torch.no_grad()
def test_a_sequence_sums_its_tokens():
    language = load_model("tiny")
    batch = collate([SHORT, LONG])
    summed = sequence_logprobs(language, batch)
    assert torch.allclose(summed[0], by_a_loop(language, SHORT).sum(), atol=1e-5)


@torch.no_grad()
def test_ids_that_the_tokenizer_does_not_know_have_no_share():
    language = load_model("tiny")
    narrow = by_a_loop(language, SHORT)
    language.model.resize_token_embeddings(300)
    assert language.n_vocabulary == 257
    got = token_logprobs(language, collate([SHORT]))
    assert torch.allclose(got[0], narrow, atol=1e-5)


def test_an_empty_response_is_read_at_the_end_of_its_prompt():
    batch = collate([Response("", "", (1, 2), ()), SHORT])
    assert batch.last.tolist() == [1, 4]
