"""Corruptions: known answers of the protocol, what is hit and by how much, nesting, alike for all methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made.tiny_batch import DIMS, random_batch, select
from made.tiny_cmir import tiny_finetuned
from made.tiny_slad import waveform

from models.core.batch import Batch, Sequences, Tokens
from pipeline.core.errors import MsaError
from pipeline.evaluation.robust_results import KINDS, NOISE
from pipeline.robustness.conditions import (
    LEVELS,
    POSITIONS,
    Condition,
    chosen_kinds,
    conditions,
)
from pipeline.robustness.corruptions import Draws, Spoiler, in_block, loudness, missing_rows
from pipeline.training.loop.missing import SOUND_STEP, Blanks, parts_of

KNOWN = ("mosi", "test", ["03bSnISJMiM$_$1"], 0)
BLANKS = Blanks(
    {**{name: torch.full((dim,), 9.0) for name, dim in DIMS.items()}, "tokens": torch.tensor(103)},
    {**{name: torch.full((dim,), 7.0) for name, dim in DIMS.items()}, "tokens": torch.tensor(100)},
    {**{name: torch.full((1, dim), 9.0) for name, dim in DIMS.items()}, "tokens": torch.tensor([1, 2])},
    torch.tensor([1, 2]),
)
STD = {name: torch.arange(1.0, dim + 1) for name, dim in DIMS.items()}
SPOILER = Spoiler(BLANKS, STD)


def draws_of(batch: Batch, seed: int = 0) -> Draws:
    return Draws("set", "test", batch.clip_ids, seed)


def spoilt(batch: Batch, kind: str, level: float, case: str = "all", seed: int = 0) -> Batch:
    return SPOILER.corrupted(batch, Condition(kind, case, level, seed), draws_of(batch, seed))


def known_batch(steps: int, width: int) -> Batch:
    """The clip of the known answers, `steps` long in sound."""
    batch = select(random_batch(2), [0])
    ones = torch.ones(1, steps, dtype=torch.bool)
    audio = Sequences(torch.zeros(1, steps, width), ones, ones[:, 0])
    return replace(batch, audio=audio, clip_ids=KNOWN[2])


# ------------------------------------------------------------------------------------------- known answers
@pytest.mark.parametrize(
    ("level", "steps"), [(0.1, [1, 9]), (0.3, [1, 2, 9]), (0.5, [0, 1, 2, 9]), (0.7, [0, 1, 2, 3, 7, 9])]
)
@pytest.mark.parametrize("kind", ["gaussian", "laplace", "erase", "frames"])
def test_known_steps_are_hit(kind: str, level: float, steps: list[int]) -> None:
    batch = known_batch(10, DIMS["audio"])
    found = SPOILER.corrupted(batch, Condition(kind, "audio", level, 0), Draws(*KNOWN)).audio
    assert found is not None
    assert (found.values[0] != 0).any(dim=1).nonzero().flatten().tolist() == steps


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("gaussian", [[-0.986134, -0.137657, 0.010682], [-1.642924, -0.972256, -0.626242]]),
        ("laplace", [[-0.820400, 1.127297, -1.266785], [0.224263, 0.406529, 0.448353]]),
    ],
)
def test_known_noise_is_added(kind: str, values: list[list[float]]) -> None:
    std = torch.tensor([1.0, 10.0, 0.0])
    spoiler = Spoiler(BLANKS, {"audio": std})
    found = spoiler.corrupted(known_batch(2, 3), Condition(kind, "audio", 1.0, 0), Draws(*KNOWN)).audio
    assert found is not None
    np.testing.assert_allclose(found.values[0], torch.tensor(values) * std, atol=5e-6)


# -------------------------------------------------------------------------------------------- what is hit
@pytest.mark.parametrize("kind", ["gaussian", "laplace", "erase", "frames"])
def test_hits_are_nested_at_the_rate_and_leave_the_rest_alone(kind: str) -> None:
    batch = random_batch(400, absent={(1, "audio")})
    before = None
    for level in LEVELS[kind]:
        found = spoilt(batch, kind, level)
        hits = {}
        for name, part in parts_of(found).items():
            old = getattr(batch, name)
            hit = (part.values != old.values).any(dim=2)  # type: ignore[union-attr]
            assert not (hit & ~old.mask).any()
            assert (hit.sum() / old.mask.sum()).item() == pytest.approx(level, abs=0.04)
            assert torch.equal(part.mask, old.mask) and torch.equal(part.present, old.present)
            if before is not None:
                assert not (before[name] & ~hit).any()
            hits[name] = hit
        before = hits
    assert torch.equal(found.label, batch.label)


def test_all_noise_hits_the_same_steps_of_independent_modalities() -> None:
    batch = random_batch(300)
    hits = {}
    for kind in ("gaussian", "laplace", "erase", "frames"):
        found = spoilt(batch, kind, 0.5)
        hits[kind] = [(getattr(found, n).values != getattr(batch, n).values).any(dim=2) for n in DIMS]
    for kind in ("laplace", "erase", "frames"):
        assert all(torch.equal(a, b) for a, b in zip(hits["gaussian"], hits[kind], strict=True))
    both = (hits["erase"][1][:, :2] & hits["erase"][2][:, :2]).double().mean().item()
    assert both == pytest.approx(0.25, abs=0.05)


def test_a_clip_is_spoilt_alike_in_every_batch_and_set_of_streams() -> None:
    """Whatever its neighbours, their lengths, or what else a method reads; the same values bit for bit."""
    batch = random_batch(12)
    for kind in KINDS:
        condition = conditions(kind, draws=(2,))[-1]
        whole = SPOILER.corrupted(batch, condition, draws_of(batch, 2))
        few = replace(select(batch, [7, 3]), text=None)
        part = SPOILER.corrupted(few, condition, draws_of(few, 2))
        for place, row in enumerate((7, 3)):
            for name in ("audio", "visual"):
                mine, theirs = getattr(part, name), getattr(whole, name)
                assert torch.equal(mine.values[place][mine.mask[place]], theirs.values[row][theirs.mask[row]])


def test_other_draws_sites_and_contexts() -> None:
    batch = random_batch(30, context=True)
    first, other = (spoilt(batch, "gaussian", 0.5, seed=seed) for seed in (0, 1))
    assert first.audio is not None and other.audio is not None
    assert not torch.equal(first.audio.values, other.audio.values)
    assert first.context is not None and batch.context is not None
    old, new = batch.context.visual, first.context.visual
    assert old is not None and new is not None and (old.values != new.values).any()
    alone = spoilt(batch, "gaussian", 0.5, "audio")
    assert alone.visual is batch.visual and alone.text is batch.text and alone.audio is not batch.audio


def test_level_0_changes_nothing() -> None:
    batch = random_batch(5)
    for kind in NOISE:
        found = spoilt(batch, kind, 0.0)
        assert all(getattr(found, name) is getattr(batch, name) for name in DIMS)


# ------------------------------------------------------------------------------------------------- values
def test_what_is_hidden_and_what_is_dropped() -> None:
    batch = random_batch(50, vocabulary=99)
    tokens = batch.tokens
    assert tokens is not None
    lengths = tokens.mask.sum(dim=1)
    ids = tokens.ids.clamp(min=5)
    ids[:, 0], ids[torch.arange(50), lengths - 1] = 1, 2
    batch = replace(batch, tokens=Tokens(ids * tokens.mask, tokens.mask, tokens.present))
    for kind, frame, token in (("erase", 9.0, 103), ("frames", 7.0, 100)):
        found = spoilt(batch, kind, 0.5)
        assert found.audio is not None and batch.audio is not None and found.tokens is not None
        hit = (found.audio.values != batch.audio.values).any(dim=2)
        assert (found.audio.values[hit] == frame).all()
        words = found.tokens.ids != batch.tokens.ids
        assert (found.tokens.ids[words] == token).all()
        assert not words[:, 0].any() and not words[torch.arange(50), lengths - 1].any()
        inner = (lengths - 2).sum().item()
        assert words.sum().item() / inner == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("kind", "mean_size"), [("gaussian", (2 / np.pi) ** 0.5), ("laplace", 0.5**0.5)])
def test_noise_has_the_spread_of_each_feature(kind: str, mean_size: float) -> None:
    batch = random_batch(1000)
    found = spoilt(batch, kind, 1.0)
    assert found.visual is not None and batch.visual is not None
    noise = (found.visual.values - batch.visual.values)[batch.visual.mask]
    assert noise.std(dim=0).tolist() == pytest.approx(STD["visual"].tolist(), rel=0.05)
    assert (noise.abs().mean(dim=0) / STD["visual"]).tolist() == pytest.approx([mean_size] * 7, rel=0.05)


def test_sound_is_hit_in_steps_of_20_ms_by_noise_of_its_own_loudness() -> None:
    sound = waveform([16_000, 3_200, 0, 1_000], width=16_000)
    sound.values[3] = 0.0
    batch = replace(random_batch(4), audio=None, waveform=sound)
    blanks = Blanks(
        BLANKS.masked | {"waveform": torch.tensor(0.0)},
        BLANKS.dropped,
        BLANKS.empty | {"waveform": torch.zeros(16_000)},
    )
    spoiler = Spoiler(blanks, STD)
    noisy = spoiler.corrupted(batch, Condition("gaussian", "audio", 0.5, 0), draws_of(batch)).waveform
    erased = spoiler.corrupted(batch, Condition("erase", "audio", 0.5, 0), draws_of(batch)).waveform
    assert noisy is not None and erased is not None
    changed = noisy.values != sound.values
    steps = changed[0].view(-1, SOUND_STEP).float().mean(dim=1)
    assert set(steps.tolist()) == {0.0, 1.0} and steps.mean().item() == pytest.approx(0.5, abs=0.15)
    assert torch.equal(erased.values[0] == 0, changed[0])
    assert loudness(sound.values, sound.mask)[0] == pytest.approx(
        sound.values[0].square().mean().sqrt().item()
    )
    difference = (noisy.values - sound.values)[0][changed[0]]
    assert difference.std().item() == pytest.approx(sound.values[0].square().mean().sqrt().item(), rel=0.05)
    assert not changed[2].any() and not changed[3].any()  # no sound, and silence
    gone = spoiler.corrupted(batch, Condition("subsets", "TV", 1.0, 0), draws_of(batch)).waveform
    assert gone is not None and gone.mask.sum(dim=1).tolist() == [16_000, 16_000, 0, 16_000]
    assert (gone.values == 0).all()


# ------------------------------------------------------------------------------------------------- words
def test_words_get_their_noise_inside_the_encoder() -> None:
    """Of a word the same in every batch; special tokens and padding none; nothing afterwards."""
    backbone = tiny_finetuned().eval().backbone
    table = backbone.get_input_embeddings()
    batch = random_batch(6, vocabulary=39)
    assert batch.tokens is not None
    condition = Condition("laplace", "all", 0.6, 0)
    width = table.weight.shape[1]
    spoiler = Spoiler(BLANKS, {"tokens": torch.arange(width) * 0.1})
    clean = table(batch.tokens.ids)
    with spoiler.noisy_words(backbone, batch, condition, draws_of(batch)):
        noise = table(batch.tokens.ids) - clean
        with pytest.raises(MsaError, match="words that are not in the batch"):
            table(batch.tokens.ids + 1)
    assert torch.equal(table(batch.tokens.ids), clean)
    hit = (noise != 0).any(dim=2)
    assert (noise[..., 0] == 0).all() and (noise[hit][:, 1:] != 0).all()
    steps = SPOILER.hits("tokens", batch.tokens, condition, draws_of(batch), "text")
    assert torch.equal(hit, steps) and not hit[torch.isin(batch.tokens.ids, BLANKS.special)].any()
    few = select(batch, [4])
    assert few.tokens is not None
    with spoiler.noisy_words(backbone, few, condition, draws_of(few)):
        alone = table(few.tokens.ids) - clean[[4]]
    torch.testing.assert_close(alone, noise[[4]])
    for other in (Condition("erase", "all", 0.6, 0), Condition("gaussian", "audio", 0.6, 0)):
        with spoiler.noisy_words(backbone, batch, other, draws_of(batch)):
            assert torch.equal(table(batch.tokens.ids), clean)


# ---------------------------------------------------------------------------------- blocks, whole modalities
@pytest.mark.parametrize("position", POSITIONS)
def test_blocks_lie_where_they_should_and_are_nested(position: str) -> None:
    lengths = np.array([10, 3, 1, 50, 0])
    draws = Draws("set", "test", [f"clip{i}" for i in range(5)], 1)
    before = np.zeros((5, 50), bool)
    for level in np.linspace(0, 1, 21).tolist():
        found = in_block(Condition("blocks", f"audio {position}", level, 1), draws, "audio", lengths, 50)
        assert found.sum(axis=1).tolist() == np.floor(level * lengths + 0.5).tolist()
        for row, length in enumerate(lengths):
            where = np.flatnonzero(found[row])
            assert not where.size or (where[-1] - where[0] + 1 == where.size and where[-1] < length)
            if where.size:
                edges = where[0], length - 1 - where[-1]
                wanted = {
                    "start": edges[0] == 0,
                    "end": edges[1] == 0,
                    "middle": 0 <= edges[1] - edges[0] <= 1,
                }
                assert wanted.get(position, True)
        assert not (before & ~found).any()
        before = found
    assert before[0, :10].all()


def test_a_block_drops_frames_of_one_modality() -> None:
    batch = random_batch(20)
    found = spoilt(batch, "blocks", 0.5, "visual end")
    assert found.audio is batch.audio and found.visual is not None and batch.visual is not None
    hit = (found.visual.values == 7).all(dim=2)
    lengths = batch.visual.mask.sum(dim=1)
    assert torch.equal(hit.sum(dim=1), (lengths * 0.5 + 0.5).floor().long())


def test_shared_and_imbalanced_rates() -> None:
    """Never all of a clip's, nested in r, and as many as asked before the last one is spared."""
    draws = Draws("set", "test", [f"clip{i}" for i in range(4000)], 0)
    for kind, case, shares in (("shared", "all", (1, 1, 1)), ("imbalanced", "audio", (0.5, 2, 0.5))):
        before = np.zeros((3, 4000), bool)
        for level in (0.1, 0.3, 0.5):
            condition = Condition(kind, case, level, 0)
            gone = np.stack([missing_rows(condition, draws, name) for name in ("text", "audio", "visual")])
            assert not gone.all(axis=0).any() and not (before & ~gone).any()
            rates = np.array(shares) * level
            assert (gone.mean(axis=1) <= rates + 0.02).all()
            lost = rates.prod()  # clips that would have nothing
            assert gone.mean(axis=1).sum() == pytest.approx(rates.sum() - lost, abs=0.03)
            before = gone


def test_how_many_passes_there_are() -> None:
    """150 at all sites: three kinds of noise at seven rates and dropped frames at nine, five draws each."""
    assert sum(len(conditions(kind)) for kind in (*NOISE, "frames")) == 150
    assert len(conditions("subsets")) == 7
    assert chosen_kinds(["subsets", "gaussian"]) == ("gaussian", "subsets") and chosen_kinds(["all"]) == KINDS
    assert len({*conditions("blocks")}) == 3 * (3 + 5) * 5
