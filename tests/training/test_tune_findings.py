"""What is said of a search: gains against their standard error, the cost, and the three files."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.core.vocabulary import FAILED
from pipeline.training.findings import Findings, mean_and_error
from pipeline.training.study import COMPLETE, PRUNED, Trial, TrialRun, finalists_of

NAMES = ["seed-1", "seed-2", "seed-3"]


def trial(number: int, *losses: float, **changes: object) -> Trial:
    runs = {name: TrialRun(loss, 4) for name, loss in zip(NAMES, losses, strict=False)}
    made = {
        "values": {"lr": 10.0 - number},
        "runs": runs,
        "state": COMPLETE,
        "epochs": 4 * len(losses),
    }
    return Trial(number, **(made | changes))  # type: ignore[arg-type]


def findings(*trials: Trial, names: list[str] = NAMES) -> Findings:
    return Findings("m", "d", names, trials, finalists_of(trials, 2), ["lr"])


# differences to trial 0 of .04, .02 and .03: mean .03, sd .01, standard error .01/√3
AS_THEY_ARE = (0.80, 0.82, 0.84)
BETTER = (0.76, 0.80, 0.81)


def test_a_gain_by_hand() -> None:
    found = findings(trial(0, *AS_THEY_ARE), trial(1, *BETTER))
    gain, error = found.gain(found.winner)
    assert (gain, error) == pytest.approx((0.03, 0.01 / math.sqrt(3)))
    assert found.verdict == "gain" and found.chosen == {"lr": 9.0}
    assert (
        "**Gain**: trial 1 is 0.0300 ± 0.0058 below the current settings; 0.0250 ± 0.0050"
        in found.markdown("x")
    )


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        # differences to trial 0 of -.001, .00 and .03: mean .0097, standard error .0102
        ((0.801, 0.82, 0.81), "no gain"),
        # .001, .00 and .03: mean .0103, standard error .0098
        ((0.799, 0.82, 0.81), "gain"),
        # .01, .01 and .03: mean .0167, standard error .0067
        ((0.79, 0.81, 0.81), "gain"),
        # -.01, .00 and .03: mean .0067, standard error .012
        ((0.81, 0.82, 0.81), "no gain"),
        ((0.80, 0.82, 0.84), "no gain"),  # the very same
        ((0.90, 0.92, 0.94), "no gain"),  # worse: trial 0 wins
    ],
)
def test_within_one_standard_error_is_no_gain(losses: tuple[float, ...], verdict: str) -> None:
    found = findings(trial(0, *AS_THEY_ARE), trial(1, *losses))
    assert found.verdict == verdict
    assert (found.chosen == {}) == (verdict == "no gain")
    assert f"**{verdict.capitalize()}**" in found.markdown("x")


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=9))
def test_errors_are_those_of_numpy(values: list[float]) -> None:
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-12)
    assert error == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)), abs=1e-12)


def test_one_seed_has_no_spread_and_no_verdict() -> None:
    found = findings(trial(0, 0.8), trial(1, 0.7), names=NAMES[:1])
    assert found.verdict == "unknown" and found.chosen == {}
    assert "one run has no spread" in found.markdown("x")
    assert YAML(typ="safe").load(found.yaml())["standard_error"] is None


def test_settings_that_fail_lose_to_anything() -> None:
    bad = trial(0, state=FAILED, reason="not finite", epochs=1)
    found = findings(bad, trial(1, *BETTER), trial(2, *AS_THEY_ARE))
    assert found.winner.number == 1 and found.verdict == "unknown" and found.chosen == {}
    assert "the current settings failed (not finite)" in found.markdown("x")


def test_finalists_are_trial_0_and_the_best_of_the_others() -> None:
    trials = [
        trial(0, 0.9),
        trial(1, 0.5, twin=0, reason="as trial 0"),
        trial(2, 0.6, state=FAILED),
        trial(3, 0.8),
        trial(4, 0.7),
        trial(5, state=PRUNED, epochs=2),
        trial(6, 0.7),
    ]
    assert [one.number for one in finalists_of(trials, 2)] == [0, 4, 6]
    assert [one.number for one in finalists_of(trials, 1)] == [0, 4]
    assert [one.number for one in finalists_of(trials, 9)] == [0, 3, 4, 6]
    assert [one.number for one in finalists_of(trials[1:], 1)] == [4]


def test_the_files(tmp_path: Path) -> None:
    keys, before = ["training.lr", "mode"], {"training.lr": 1, "mode": "x"}
    trials = [
        trial(0, *AS_THEY_ARE, values=before),
        trial(1, *BETTER, values={"training.lr": 3e-5, "mode": None}),
        trial(2, values=before, state=PRUNED, epochs=2, reason="after epoch 2"),
        trial(3, values=before, state=FAILED, epochs=1, reason="=not\nfinite"),
        trial(4, 0.80, values=before, twin=0, epochs=0, reason="as trial 0"),
        trial(5, 0.90, values=before),
    ]
    found = Findings("m", "d", NAMES, trials, finalists_of(trials, 1), keys)
    text = found.write(tmp_path / "m-d")
    assert text == (tmp_path / "m-d.md").read_text()
    # runs: 3 + 3 + 1 + 1 + 1, the repetition was none; epochs: 12 + 12 + 2 + 1 + 4
    assert "6 trials (1 pruned, 1 failed, 1 repeated), 9 runs, 31 epochs" in text
    assert "| 1 | 0.7600 | 0.8000 | 0.8100 | 0.7900 ± 0.0153 | 0.0300 ± 0.0058 | 3.0e-05 | null |" in text
    assert "| 0 | 0.8000 | 0.8200 | 0.8400 | 0.8200 ± 0.0115 |  | 1 | x |" in text

    content = YAML(typ="safe").load((tmp_path / "m-d.yaml").read_text())
    assert content["budget"] == {"trials": 6, "runs": 9, "epochs": 31}
    assert content["chosen"] == {"training": {"lr": 3e-5}, "mode": None}
    assert (content["verdict"], content["trained_on"]) == ("gain", NAMES)

    with (tmp_path / "m-d.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["state"] for row in rows] == [one.state for one in trials]
    assert [row["valid_loss"] for row in rows] == [repr(trials[0].loss), repr(trials[1].loss), "", "", "", ""]
    assert [row["valid_loss_seed-1"] for row in rows] == ["0.8", "0.76", "", "", "0.8", "0.9"]
    assert [row["epochs"] for row in rows] == ["12", "12", "2", "1", "0", "4"]
    assert rows[1]["training.lr"] == "3.0e-05" and rows[3]["reason"] == "'=not finite"
