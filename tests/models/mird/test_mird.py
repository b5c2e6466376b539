"""MIRD's representations against the paper's equations: encoders, decoders, shifted words; and gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made.spoken import spoken_batch
from made.tiny_batch import DIMS, pad_more, random_batch, select
from made.tiny_methods import weighted
from made.tiny_mird import BERT, TINY, VARIANTS, shift_words, tiny, tiny_finetuned, variant
from made.tiny_models import tiny_bert
from reference import mird as reference
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import RobertaConfig, RobertaModel

from models.core.batch import Batch, Sequences
from models.core.blocks import changed_output, key_bias, mean_over_time
from models.core.gate import shift_scale
from models.core.sparse_attention import WordwiseSparseAttention
from models.mird.disentangle import Decoder, PrivateEncoder
from models.mird.model import MIRD
from models.mird.settings import MIRDSettings


def arrays(method: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in method.state_dict().items()}


def reached(method: MIRD, term: str, batch: Batch) -> set[str]:
    """Names of the parameters with a gradient from this term alone."""
    method.zero_grad()
    method.losses(batch, method(batch), [term])[term].backward()
    return {name for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


# ------------------------------------------------------------------------------------- encoders and decoders
def test_representations_equal_the_equations() -> None:
    method = tiny().double()
    batch = random_batch(4, dtype=torch.float64, absent={(2, "audio")})
    with torch.no_grad():
        output = method(batch)
    weights = arrays(method)
    for clip in range(4):
        shared = output.z["shared"][clip].numpy()
        for name in DIMS:
            part, own = getattr(batch, name), output.z[name][clip].numpy()
            if (clip, name) == (2, "audio"):
                assert (own == 0).all()
            else:
                expected = reference.private(part.values[clip][part.mask[clip]].numpy(), weights, name)
                np.testing.assert_allclose(own, expected, atol=1e-12)
            steps = part.values.shape[1]
            rebuilt = reference.rebuilt(shared, own, steps, weights, name)
            np.testing.assert_allclose(output.reconstruction[name].values[clip].numpy(), rebuilt, atol=1e-12)


def test_the_decoder_is_a_cell_that_hears_its_own_state() -> None:
    torch.manual_seed(0)
    decoder, start = Decoder(6, 3).double(), torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    x, state, steps = start, None, []
    for _ in range(9):
        state = decoder.cell(x, state)
        x = state[0]
        steps.append(decoder.out(x))
    expected = torch.stack(steps, dim=1)
    torch.testing.assert_close(decoder(start, 9), expected)
    sources = [start, *decoder.parameters()]
    found = torch.autograd.grad(decoder(start, 9).square().sum(), sources)
    torch.testing.assert_close(found, torch.autograd.grad(expected.square().sum(), sources))
    assert decoder(start, 1).shape == (4, 1, 3)


def test_the_private_encoder_ends_at_the_last_real_step() -> None:
    torch.manual_seed(0)
    encoder, values = PrivateEncoder(3, 5), torch.randn(3, 6, 3)
    lengths = torch.tensor([6, 2, 1])
    packed = nn.utils.rnn.pack_padded_sequence(values, lengths, batch_first=True)
    expected = encoder.project(nn.LSTM.forward(encoder.lstm, packed)[1][0][0])
    torch.testing.assert_close(encoder(values, torch.arange(6) < lengths[:, None]), expected)


def test_lengths_of_the_decoders() -> None:
    lengths, widths = {"text": 50, "audio": 400, "visual": 55}, {"text": 12, "audio": 33, "visual": 709}
    method = tiny(dims=widths)

    def rebuilt(extra: int) -> dict[str, tuple[int, ...]]:
        def part(name: str) -> Sequences:
            mask = torch.ones(2, lengths[name] + extra, dtype=torch.bool)
            return Sequences(torch.randn(*mask.shape, widths[name]), mask, mask[:, 0])

        batch = replace(random_batch(2), **{name: part(name) for name in DIMS})
        output = method(batch)
        for x in output.reconstruction.values():
            assert x.values.shape == x.target.shape and x.values.shape[:2] == x.mask.shape
        assert method.losses(batch, output, ["reconstruction"])["reconstruction"].isfinite()
        return {name: tuple(x.values.shape) for name, x in output.reconstruction.items()}

    exact = {name: (2, lengths[name], widths[name]) for name in DIMS}
    assert rebuilt(0) == rebuilt(30) == exact
    assert rebuilt(-20) == {name: (2, lengths[name] - 20, widths[name]) for name in DIMS}
    method.config = method.config.model_copy(update={"recon_mask": False})
    assert rebuilt(-20) == exact


@pytest.mark.parametrize("recon_mask", [True, False])
@pytest.mark.parametrize("finetuned", [False, True])
def test_the_batch_does_not_change_how_well_a_clip_is_rebuilt(finetuned: bool, recon_mask: bool) -> None:
    settings = {"recon_mask": recon_mask, "decoder_steps": {"text": 5, "audio": 12, "visual": 8}}
    method = (tiny_finetuned if finetuned else tiny)(**settings).double()
    batch = random_batch(dtype=torch.float64, vocabulary=40 if finetuned else None)
    one = select(batch, [1])
    found = []
    for version in (one, pad_more(one, 7)):
        output = method(version)
        found.append(method.losses(version, output, ["reconstruction"])["reconstruction"])
        counted = {name: x.mask.sum().item() for name, x in output.reconstruction.items()}
        if not recon_mask:
            assert counted == settings["decoder_steps"]
    torch.testing.assert_close(found[0], found[1])
    if finetuned:  # padding is rebuilt as the padding id
        assert output.reconstruction["text"].values.shape[-1] == 120
        assert recon_mask or (output.reconstruction["text"].target[0, one.tokens.mask.sum() :] == 0).all()


# ---------------------------------------------------------------------------------------- the shared encoder
@pytest.mark.parametrize("finetuned", [False, True])
def test_shifted_words_equal_the_equations(finetuned: bool) -> None:
    method = (tiny_finetuned if finetuned else tiny)().double().eval()
    batch = random_batch(
        dtype=torch.float64, vocabulary=40 if finetuned else None, absent={(1, "audio"), (2, "visual")}
    )
    seen: list[Tensor] = []

    def keep(words: Tensor) -> Tensor:
        seen.append(words)
        return words

    first = method.backbone.embeddings if finetuned else method.shared.layers.project
    with torch.no_grad(), changed_output(first, keep), changed_output(method.shared.mag, keep):
        method(batch)
    before, after = (x.numpy() for x in seen)
    weights = arrays(method)
    for clip in range(4):
        parts = {name: getattr(batch, name) for name in ("audio", "visual")}
        others = {
            name: part.values[clip][part.mask[clip]].numpy()
            for name, part in parts.items()
            if part.present[clip]
        }
        for word in range(before.shape[1]):
            expected = reference.shifted(before[clip, word], others, weights)
            np.testing.assert_allclose(after[clip, word], expected, atol=1e-9)


def test_scores_that_are_not_scaled_do_not_learn() -> None:
    torch.manual_seed(0)
    words = torch.randn(2, 40, 256, requires_grad=True)
    source = Sequences(torch.randn(2, 50, 33), torch.ones(2, 50, dtype=torch.bool), torch.ones(2).bool())
    stuck = {}
    for scale in (1.0, 256**-0.5):
        said = WordwiseSparseAttention(33, 256, scale)(words, source)
        (gradient,) = torch.autograd.grad(said.square().sum(), words)
        stuck[scale] = (gradient == 0).all(dim=-1).float().mean().item()  # words that choose a single step
    assert stuck[1.0] > 0.3
    assert stuck[256**-0.5] == 0
    assert tiny().shared.attention["audio"].scale == pytest.approx(TINY["frozen_width"] ** -0.5)
    assert tiny_finetuned().shared.attention["audio"].scale == pytest.approx(12**-0.5)
    assert tiny(score_scale=1).shared.attention["audio"].scale == 1


def test_length_of_a_shift() -> None:
    def scale(word: float, shift: float, epsilon: float = 1.0) -> float:
        vectors = (torch.tensor([size, 0.0, 0.0], dtype=torch.float64) for size in (word, shift))
        return shift_scale(*vectors, epsilon).item()

    assert scale(2, 10) == pytest.approx(0.2, abs=1e-6)
    assert scale(5, 2) == 1
    assert scale(3, 0) == 1
    words, shifts = torch.randn(2, 7, 12) * 3, torch.randn(2, 7, 12) * 20
    for epsilon in (0.5, 1.0, 2.0):
        moved = (shift_scale(words, shifts, epsilon) * shifts).norm(dim=-1)
        assert (moved <= epsilon * words.norm(dim=-1) + 1e-5).all()


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_without_sound_and_sight_it_is_the_text_encoder(kind: str, layer: int) -> None:
    """Plain BERT, with the LayerNorm of the gate behind the injected layer."""
    method = tiny_finetuned(inject_layer=layer).eval()
    if kind == "roberta":
        method.backbone = RobertaModel(
            RobertaConfig(**{**tiny_bert(**BERT).config.to_dict(), "pad_token_id": 0}),
            add_pooling_layer=False,
        ).eval()
    batch = random_batch(vocabulary=40, absent={(clip, m) for clip in range(4) for m in ("audio", "visual")})
    backbone, tokens = method.backbone, batch.tokens
    assert tokens is not None
    mask = tokens.mask.long()
    place = backbone.embeddings if layer == 0 else backbone.encoder.layer[0]
    with changed_output(place, lambda words: F.layer_norm(words, words.shape[-1:])):
        states = backbone(input_ids=tokens.ids, attention_mask=mask).last_hidden_state
    pooled = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    expected = method.shared.project(pooled)
    torch.testing.assert_close(method(batch).z["shared"], expected, atol=1e-6, rtol=1e-5)
    heard = random_batch(vocabulary=40)
    assert not torch.allclose(method(heard).z["shared"], expected, atol=1e-3)


def probe_error(pooled: Tensor, label: Tensor) -> float:
    """Mean absolute error of ridge regressions, each on four fifths of the clips, for the last fifth."""
    errors = []
    for fold in range(5):
        held = torch.arange(len(label)) % 5 == fold
        x = (pooled - pooled[~held].mean(dim=0)).double()
        x, y = x / x[~held].std(), label.double()
        known, wanted = x[~held], y[~held] - y[~held].mean()
        weights = known.T @ torch.linalg.solve(known @ known.T + 100 * torch.eye(len(known)), wanted)
        errors.append((x[held] @ weights + y[~held].mean() - y[held]).abs())
    return torch.cat(errors).mean().item()


def test_at_the_start_words_are_worth_what_they_are_to_bert() -> None:
    """A linear probe on MiniLM's pooled states: with the gate, its LayerNorm too, as good as without it."""
    torch.manual_seed(0)
    method = MIRD(MIRDSettings(text="finetune"), {name: DIMS[name] for name in ("audio", "visual")}).eval()
    batch, seen = spoken_batch(), []

    def pooled() -> Tensor:
        seen.clear()
        with torch.no_grad(), changed_output(method.shared.dropout, lambda x: seen.append(x) or x):
            method(batch)
        return seen[0]

    gated = probe_error(pooled(), batch.label)
    shift_words(method.shared.mag)  # as PyTorch begins a Linear
    spoilt = probe_error(pooled(), batch.label)
    tokens = batch.tokens
    assert tokens is not None
    with torch.no_grad():
        states = method.backbone(input_ids=tokens.ids, attention_mask=tokens.mask.long()).last_hidden_state
    plain = probe_error(mean_over_time(states, tokens.mask), batch.label)
    assert gated == pytest.approx(plain, rel=0.05)
    assert spoilt > 1.1 * gated


def test_an_injected_layer_may_give_a_tuple() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, str]:
            return x, "rest"

    part, ones = Pair(), torch.ones(2)
    with changed_output(part, lambda x: x + 1):
        words, rest = part(ones)
    assert torch.equal(words, ones + 1) and rest == "rest"
    assert torch.equal(part(ones)[0], ones)  # the hook is gone
    with pytest.raises(RuntimeError), changed_output(part, lambda x: x + 1):
        raise RuntimeError
    assert torch.equal(part(ones)[0], ones)


def test_frozen_words_are_shifted_between_layers() -> None:
    torch.manual_seed(0)
    layers, values = tiny(frozen_layers=3).shared.layers, torch.randn(2, 4, 12)
    mask = torch.ones(2, 4, dtype=torch.bool)
    assert layers is not None
    for after in range(3):
        words = layers.project(values)
        for number, layer in enumerate(layers.layers):
            words = layer(2 * words if number == after else words, key_bias(mask))
        torch.testing.assert_close(layers(values, mask, lambda x: 2 * x, after), words)


@pytest.mark.parametrize("finetuned", [False, True])
def test_what_estimators_see_of_the_inputs(finetuned: bool) -> None:
    """Means over real steps; of fine-tuned text those of the embedding, wherever words are shifted."""
    method = (tiny_finetuned if finetuned else tiny)(inject_layer=1, mi_pairs="nine")
    batch = random_batch(vocabulary=40 if finetuned else None, absent={(1, "audio"), (2, "text")})
    parts = {name: getattr(batch, name) for name in ("audio", "visual")}
    steps = {name: (part.values, part.mask) for name, part in parts.items()}
    if batch.tokens is not None:
        steps["text"] = (method.backbone.embeddings(batch.tokens.ids), batch.tokens.mask)
    elif batch.text is not None:
        steps["text"] = (batch.text.values, batch.text.mask)
    pooled = method(batch).pooled
    for name, (values, mask) in steps.items():
        expected = (values * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        torch.testing.assert_close(pooled[name], expected.detach())


def test_pooling() -> None:
    batch = random_batch(vocabulary=40)
    method = tiny_finetuned(pool="cls").eval()
    seen: list[Tensor] = []
    with changed_output(method.backbone.pooler, lambda x: seen.append(x) or x):
        z = method(batch).z["shared"]
    torch.testing.assert_close(z, method.shared.project(seen[0]))
    assert seen[0].abs().max() < 1  # of a tanh
    assert method.backbone.pooler is not None
    assert tiny_finetuned().backbone.pooler is None


# ------------------------------------------------------------------------------------------------ regressor
def test_the_regressor_reads_all_four_in_a_fixed_order() -> None:
    method, batch = tiny().eval(), random_batch()
    output = method(batch)
    assert list(output.z) == ["shared", "text", "audio", "visual"]
    p = torch.cat([output.z[name] for name in ("shared", "text", "audio", "visual")], dim=-1)
    torch.testing.assert_close(method.regressor(p).squeeze(-1), output.prediction)
    full = MIRD(MIRDSettings(), DIMS)
    assert full.regressor[0].in_features == 256
    assert all(z.shape == (4, 64) for z in full(batch).z.values())
    shuffled = {name: DIMS[name] for name in ("visual", "text", "audio")}
    assert list(tiny(dims=shuffled)(batch).z) == list(output.z)


def test_evaluation_computes_the_prediction_alone() -> None:
    method, batch = tiny(mi_pairs="nine"), random_batch()
    trained = method(batch)
    assert set(trained.reconstruction) == set(trained.pooled) == set(DIMS)
    method.active_terms = frozenset({"prediction"})
    assert method(batch).reconstruction == method(batch).pooled == {}
    output = tiny(mi_pairs="nine").eval()(batch)
    assert output.reconstruction == output.pooled == {}
    torch.testing.assert_close(output.prediction, trained.prediction)  # no dropout here
    noisy = tiny(regressor_dropout=0.5, mag_dropout=0.5, pool_dropout=0.5).train()
    assert not torch.equal(noisy(batch).prediction, noisy(batch).prediction)
    assert torch.equal(noisy.eval()(batch).prediction, noisy(batch).prediction)


# ------------------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize("name", VARIANTS)
def test_the_objective_leaves_no_parameter_out(name: str) -> None:
    method, needs = variant(name)
    batch = random_batch(5, **needs)
    output = method(batch)
    weighted(method, method.losses(batch, output, MIRD.TERMS)).backward()
    gradients = {key: parameter.grad for key, parameter in method.named_parameters()}
    assert [key for key, grad in gradients.items() if grad is None or grad.abs().max() == 0] == []


def test_what_each_term_reaches() -> None:
    method, batch = tiny_finetuned(), random_batch(5, vocabulary=40)
    reach = {term: reached(method, term, batch) for term in MIRD.TERMS}
    encoders = {f"private.{m}.lstm.weight_ih_l0" for m in DIMS} | {"token_table.weight"}
    shared = {"shared.attention.audio.key.weight", "shared.mag.gate.visual.weight", "shared.project.weight"}
    for names in reach.values():
        assert encoders | shared | {"backbone.embeddings.word_embeddings.weight"} <= names
    parts = {"prediction": "regressor.", "reconstruction": "decoder.", "information": "estimators."}
    for term, own in parts.items():
        for other, names in reach.items():
            assert any(key.startswith(own) for key in names) == (term == other)
