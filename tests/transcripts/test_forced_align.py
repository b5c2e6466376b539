"""Our Viterbi against torchaudio's forced alignment, which is compiled code of others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.transcripts.alignment import viterbi

CASES = 200
BLANK = 0


def test_viterbi_is_torchaudios() -> None:
    """The same score of the path in all cases, and the same path, for none of them has two likeliest ones."""
    try:
        from torchaudio.functional import forced_align
    except (ImportError, OSError) as error:
        pytest.skip(f"torchaudio does not import here: {error}")
    rng = np.random.default_rng(0)
    for _ in range(CASES):
        length, vocabulary = int(rng.integers(1, 30)), int(rng.integers(2, 40))
        tokens = rng.integers(1, vocabulary, length)
        needed = length + int((tokens[1:] == tokens[:-1]).sum())
        odds = torch.from_numpy(rng.normal(0, 3, (needed + int(rng.integers(0, 80)), vocabulary)))
        log_odds = odds.float().log_softmax(-1)
        theirs, scores = forced_align(log_odds[None], torch.from_numpy(tokens)[None], blank=BLANK)
        path = viterbi(log_odds.numpy(), tokens, BLANK)
        ours = np.where(path < 0, BLANK, tokens[path])
        np.testing.assert_array_equal(ours, theirs[0].numpy())
        said = log_odds.numpy()[np.arange(len(ours)), ours].astype(np.float64).sum()
        assert said == pytest.approx(float(scores.double().sum()), abs=1e-3)
