"""What is drawn of a method's runs, and the names that stand in place of keys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from models import METHODS
from pipeline.reports.figures import confusion, limits_of
from pipeline.reports.names import Wording, method_name, metric_name, term_name, typeset
from pipeline.reports.run_figures import classes_of, draw_terms, error_by_range


def test_the_curves_say_each_terms_share_of_the_loss() -> None:
    """Of the weighted terms at the chosen epoch; a term below zero counts by its size."""
    curves = [
        {"epoch": i, "total": 1.0, "prior": 0.5 + i, "pull": -2.0 * i, "valid_loss": 1.0, "lr": 0.1}
        for i in (1, 2)
    ]
    result = SimpleNamespace(epoch=1, class_names=(), method="new", dataset="mosi")
    runs: Any = [SimpleNamespace(curves=curves, result=result)]
    said = draw_terms(runs, {"prior": 1.0, "pull": 0.25, "off": 0.0}).alt
    assert "Prior 1.5 (75.0% of the loss), Pull -2 (25.0% of the loss), Weighted sum 1, Validation 1" in said
    assert "%" not in draw_terms(runs, {}).alt


def test_limits_leave_out_a_spike_and_keep_a_slope() -> None:
    slope = np.linspace(3, 0.5, 40)
    low, high = limits_of(slope.tolist())
    assert low < 0.5 and high > 3
    low, high = limits_of([*slope, 400.0])
    assert 3 < high < 5 and low < 0.5
    low, high = limits_of([1.0, 1.0 + 1e-9])
    assert high - low > 0.1


def test_errors_by_range_by_hand() -> None:
    label, prediction = np.array([-3, -2, 0.5, 3.0]), np.array([[-2, -2.5, 0.5, 1.0], [-2, -2.5, 0.5, 1.0]])
    names, errors = error_by_range(label, prediction, (-3, 3))
    assert names[0] == "-3 to -2\nn = 1" and names[1] == "-2 to -1\nn = 1" and names[5] == "2 to 3\nn = 1"
    assert errors == [1.0, 0.5, None, 0.0, None, 2.0]


def test_classes_of_scores_are_the_metric_sets() -> None:
    label, found = np.array([-3.0, 0.5, 1.5, 0.1]), np.array([-9.0, 0.4, 2.4, -0.1])
    true, guessed, names = classes_of(label, found, "mmsa", [])
    assert [names[i] for i in true] == ["-3", "0", "2", "0"] and [names[i] for i in guessed] == [
        "-3",
        "0",
        "2",
        "0",
    ]
    true, guessed, names = classes_of(label / 3, found / 3, "sims", [])
    assert [names[i] for i in true] == ["≤ -0.7", "≤ 0.7", "≤ 0.7", "≤ 0.1"]
    counts = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    np.testing.assert_array_equal(counts, [[1, 1], [0, 1]])


def test_symbols_are_set_and_explained() -> None:
    text = typeset("the constraint L_IC of (H^u, μ) and X'^t; `mi_norm: none`, a_b, f1 < 2")
    assert (
        '<abbr title="MISR: the loss that makes the risks of all environments equal"><i>L</i><sub>IC</sub>'
        in text
    )
    assert "<i>H</i><sup>u</sup></abbr>, μ" in text and "<i>X′</i><sup>t</sup></abbr>;" in text
    assert "<code>mi_norm: none</code>" in text and "f1 &lt; 2" in text
    assert term_name("gap_over_std/text", "cmir").text == "Gap ÷ spread, text"
    assert term_name("never_seen/of_it").text == "Never seen, of it"
    assert method_name("mag_bert").text == "MAG-BERT" and method_name("llm") == Wording("llm")
    assert metric_name("f1_joy").text == "F1, joy" and metric_name("ood_acc2_has0").text == "Acc-2 (≥ 0)"


def test_every_method_has_names_for_all_its_terms() -> None:
    """Of the methods that are here: a loss term without a name would be shown as a key in words."""
    for method, entry in METHODS.items():
        assert all(term_name(term, method).why for term in entry.load().TERMS), method
