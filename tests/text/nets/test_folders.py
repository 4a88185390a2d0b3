"""Folders that are no plain language models: adapters, and models with another head."""

import pytest
import torch

from prefrl.errors import ConfigError
from prefrl.runtime.rundir import RunDirectory
from prefrl.text.finish import save_policy
from prefrl.text.nets.adapters import AdapterConfig
from prefrl.text.nets.models import load_model
from prefrl.text.nets.policy import Policy

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # of PEFT itself
IDS = torch.arange(12)[None]


@pytest.fixture
def base(tmp_path):
    """The folder of a model."""
    language = load_model("tiny")
    for kept in (language.model, language.tokenizer):
        kept.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_a_policy_with_adapters_leaves_them_and_the_merged_model(tmp_path, base):
    import peft
    from transformers import AutoModelForCausalLM

    language = load_model(str(base))
    before = logits(language.model)
    policy = Policy(language, lora=AdapterConfig(rank=4, modules="q_proj,v_proj"), seed=1)
    with torch.no_grad():
        for parameter in policy.trained:
            parameter.add_(0.1)
    run = RunDirectory.create(tmp_path / "run")
    save_policy(language, run)
    after = logits(language.model)
    assert not torch.allclose(before, after, atol=1e-3)
    theirs = AutoModelForCausalLM.from_pretrained(base)
    adapted = peft.PeftModel.from_pretrained(theirs, run.root / "adapter")
    merged, from_adapters = load_model(str(run.model)), load_model(str(run.root / "adapter"))
    for model in (adapted, merged.model, from_adapters.model):
        assert torch.allclose(logits(model), after, atol=1e-5)


def test_adapters_of_others_are_merged_and_all_is_trained(tmp_path, base):
    import peft
    from transformers import AutoModelForCausalLM

    theirs = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False),
    )
    theirs.save_pretrained(tmp_path / "adapter")
    language = load_model(str(tmp_path / "adapter"))
    assert torch.allclose(logits(language.model), logits(theirs), atol=1e-5)
    assert not hasattr(language.model, "peft_config")
    assert Policy(language).trained
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"base_model_name_or_path, but .* merge them yourself"):
        load_model(str(tmp_path / "adapter"))


def test_a_model_without_the_head_of_a_language_model_is_refused(tmp_path, base):
    from transformers import LlamaConfig, LlamaForSequenceClassification, LlamaModel

    config = LlamaConfig.from_pretrained(base)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "classifier")
    config.tie_word_embeddings = False
    LlamaModel(config).save_pretrained(tmp_path / "trunk")
    tokenizer = load_model(str(base)).tokenizer
    for name, message in (
        ("classifier", "it is a LlamaForSequenceClassification"),
        ("trunk", r"it lacks lm_head\.weight"),
    ):
        tokenizer.save_pretrained(tmp_path / name)
        with pytest.raises(ConfigError, match=message):
            load_model(str(tmp_path / name))
