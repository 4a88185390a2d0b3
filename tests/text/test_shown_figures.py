"""What a run says of itself: curves as TRL's users know them, responses that end, wall time."""

import csv
import json
import time
from dataclasses import replace

import pytest

from prefrl.cli import main
from prefrl.text.methods.preference_losses import PairLossConfig
from prefrl.text.policy_work import PolicyWork
from prefrl.text.presets import ALIGN_PRESETS, SFT_PRESETS
from prefrl.text.sft import sft
from prefrl.text.train import align

CURVES = ("tuning_loss", "rewards", "accuracies", "logps")
NAMES = ("rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected")


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("method", ["dpo", "ipo", "kto"])
def test_curves_of_a_run_on_a_file_are_means_and_have_the_names_and_scales_of_trl(
    tmp_path, monkeypatch, capsys, method
):
    rows = [{"prompt": f"{n} ", "chosen": "a" + n * "b", "rejected": "z"} for n in range(25)]
    preset, steps, tune = ALIGN_PRESETS["tiny"], [], PolicyWork.tune

    def recorded(work):
        steps.append(tune(work))
        return steps[-1]

    monkeypatch.setattr(PolicyWork, "tune", recorded)
    config = replace(
        preset,
        prompts=write(tmp_path / "prompts.jsonl", rows[:1]),
        data=write(tmp_path / "data.jsonl", rows),
        method=method,
        labels=0,
        run=tmp_path / "run",
        finetune=replace(preset.finetune, epochs=1, batch_size=1 if method != "kto" else 2),
        loss=PairLossConfig(beta=0.3),
        eval_prompts=1,
        eval_responses=1,
        sync=True,
    )
    began = time.monotonic()
    run = align(config).run
    took = time.monotonic() - began
    with run.metrics.open(newline="") as file:
        logged = list(csv.DictReader(file))
    assert [float(row["update"]) for row in logged] == [10, 20, 25]
    for row, part in zip(logged, (steps[:10], steps[10:20], steps[20:]), strict=True):
        mean = sum(step["loss"] for step in part) / len(part)
        assert float(row["loss"]) == pytest.approx(mean, rel=1e-5)
        assert all(row[name] not in ("", "nan") for name in NAMES)
        difference = float(row["rewards/chosen"]) - float(row["rewards/rejected"])
        assert float(row["rewards/margins"]) == pytest.approx(difference, rel=1e-4, abs=1e-5)
    main(["report", str(run.root)])
    assert all((run.report / f"{name}.png").is_file() for name in CURVES)
    capsys.readouterr()
    main(["status", str(run.root)])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{method} loss" in shown
    assert "25 gradient steps" in shown
    assert "not fitted" not in shown
    summary = run.read_json(run.summary)
    assert 0.8 * took - 0.2 < summary["wall_seconds"] <= took + 0.1  # with loading and evaluation


def test_it_is_said_when_responses_come_to_their_end_no_more(tmp_path, capsys):
    tiny = SFT_PRESETS["tiny"]
    prompts = [{"prompt": f"{n} "} for n in range(8)]
    short = [row | {"completion": "a"} for row in prompts * 5]
    how = replace(tiny.finetune, epochs=12)
    data = write(tmp_path / "short.jsonl", short)
    base = sft(replace(tiny, data=data, run=tmp_path / "base", finetune=how)).run
    pairs = [row | {"chosen": 20 * "a", "rejected": "a"} for row in prompts]
    write(tmp_path / "pairs.jsonl", pairs)
    write(tmp_path / "prompts.jsonl", prompts)
    told = f"align tiny --init {base.root} --data {tmp_path / 'pairs.jsonl'} --labels 0 --sync"
    told += f" --method dpo --finetune.epochs 60 --run {tmp_path / 'run'} --loss.beta 0.02"
    told += f" --prompts {tmp_path / 'prompts.jsonl'} --sampling.max-new-tokens 8"
    main(told.split())
    shown = capsys.readouterr()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["ended_before"] > 0.8
    assert summary["ended_after"] < 0.6
    assert "of the responses end, compared with" in " ".join(shown.err.split())
    assert "responses that ended" in (tmp_path / "run" / "report" / "index.html").read_text()


def test_a_run_of_before_is_shown_but_not_gone_on_with(tmp_path, capsys):
    preset, rows = ALIGN_PRESETS["tiny"], [{"prompt": "p ", "chosen": "a", "rejected": "b"}]
    data = write(tmp_path / "data.jsonl", rows)
    config = replace(
        preset,
        prompts=data,
        data=data,
        method="dpo",
        labels=0,
        run=tmp_path / "run",
        finetune=replace(preset.finetune, epochs=1),
        eval_prompts=1,
        eval_responses=1,
        sync=True,
    )
    run = align(config).run
    # As its files were: other columns, none of the share that ended, and no format.
    names = {"rewards/margins": "margin", "rewards/accuracies": "accuracy"}
    with run.metrics.open(newline="") as file:
        logged = list(csv.DictReader(file))
    with run.metrics.open("w", newline="") as file:
        kept = [name for name in logged[0] if name != "ended"]
        csv.writer(file).writerow([names.get(name, name) for name in kept])
        csv.writer(file).writerows([row[name] for name in kept] for row in logged)
    versions, summary = run.read_json(run.versions), run.read_json(run.summary)
    run.write_json(run.versions, {k: v for k, v in versions.items() if k != "text_format"})
    kept = {k: v for k, v in summary.items() if not k.startswith("ended")}
    run.write_json(run.summary, kept)
    main(["status", str(run.root)])
    assert "after 1 gradient steps on the answers" in " ".join(capsys.readouterr().out.split())
    main(["report", str(run.root)])
    run.summary.unlink()
    before = run.metrics.read_bytes()
    with pytest.raises(SystemExit):
        main(["resume", str(run.root)])
    assert "its tables and responses have other names" in " ".join(capsys.readouterr().err.split())
    assert run.metrics.read_bytes() == before


def test_the_share_that_ended_is_logged_and_drawn(config):
    run = align(replace(config, responses=256, labels=20, eval_prompts=1, eval_responses=1)).run
    with run.metrics.open(newline="") as file:
        shares = [float(row["ended"]) for row in csv.DictReader(file)]
    assert all(0 <= share <= 1 for share in shares)
    assert any(shares)
    main(["report", str(run.root)])
    assert (run.report / "shapes.png").is_file()
