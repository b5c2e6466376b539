"""What a reader sees in place of a key: names of methods, metrics, loss terms and diagnostics.

A key that is nowhere here (of a new method) is shown in words: `gap_over_std/text` as "gap over std, text".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

from models import METHODS
from pipeline.core.vocabulary import FROM, MODALITIES

ENGLISH = ("constant", "ridge")  # methods whose keys are words
OOD = "ood_"  # before the names of metrics of a second test split


@dataclass(frozen=True)
class Wording:
    """Words for a key, and what they mean; the latter is empty where nothing more is known."""

    text: str
    why: str = ""


METRICS = {  # metrics.py defines them
    "mae": Wording("MAE", "mean absolute error, in label units"),
    "corr": Wording("Corr", "Pearson's correlation"),
    "acc7": Wording("Acc-7", "share of clips whose rounded score, -3 to 3, is the label's"),
    "acc5": Wording("Acc-5", "share of clips in the label's class of five"),
    "acc3": Wording("Acc-3", "share of clips in the label's class of three"),
    "acc2": Wording("Acc-2", "share of clips on the label's side of 0"),
    "f1": Wording("F1", "F1 of two classes, weighted by true support"),
    "acc2_has0": Wording("Acc-2 (≥ 0)", "negative against non-negative, all clips"),
    "f1_has0": Wording("F1 (≥ 0)", "F1, negative against non-negative, all clips"),
    "acc2_non0": Wording("Acc-2 (> 0)", "negative against positive, without labels of 0"),
    "f1_non0": Wording("F1 (> 0)", "F1, negative against positive, without labels of 0"),
    "accuracy": Wording("Accuracy", "share of clips whose class is the label"),
    "f1_weighted": Wording("F1, weighted", "mean F1 of the classes, weighted by true support"),
    "f1_macro": Wording("F1, macro", "plain mean F1 of the classes"),
}

TERMS = {  # of losses, and what methods measure of themselves: `key`, or `method:key` where methods differ
    "prediction": Wording("Prediction", "error of the prediction"),
    "mird:prediction": Wording(
        "Prediction (log)", "logarithm of the mean error: below 0 once the error is below 1"
    ),
    "task": Wording("Task", "error of the prediction"),
    "reconstruction": Wording("Reconstruction", "error of what is decoded from the representations"),
    "mird:reconstruction": Wording(
        "Reconstruction (log)", "logarithm of the mean error of what is decoded: below 0 once it is below 1"
    ),
    "information": Wording("Information", "estimate of the mutual information, which should be small"),
    "mmim:information": Wording(
        "Information",
        "minus a lower bound of mutual information, which should be large: it has no minimum",
    ),
    "prior": Wording("Prior", "distance of the representations' distributions from a standard normal"),
    "alignment": Wording("Alignment", "distance between the distributions of modalities"),
    "invariance": Wording(
        "Invariance", "how far the risk, or a representation, differs between environments"
    ),
    "decorrelation": Wording("Decorrelation", "what the invariant and the spurious halves have in common"),
    "orthogonality": Wording("Orthogonality", "overlap of representations that should be orthogonal"),
    "difference": Wording("Difference", "overlap of shared and private representations"),
    "similarity": Wording("Similarity", "distance between the shared representations of modalities"),
    "contrastive": Wording("Contrastive", "clips that belong together should be closer than others"),
    "repulsion": Wording("Repulsion", "what is specific to modalities is pushed apart, up to a margin"),
    "multilabel": Wording("Multi-label", "contrastive loss that also weighs how close the labels are"),
    "unimodal": Wording("Unimodal", "error of the predictions from each modality alone"),
    "unimodal_text": Wording("Unimodal, text", "error of the prediction from text alone"),
    "unimodal_audio": Wording("Unimodal, audio", "error of the prediction from audio alone"),
    "bottleneck_error": Wording("Bottleneck's error", "error of the prediction from the bottleneck"),
    "compression": Wording(
        "Compression", "what the bottleneck keeps of its input (KL divergence from the prior)"
    ),
    "compression_audio": Wording("Compression, audio", "KL divergence of the bottleneck towards audio"),
    "compression_visual": Wording("Compression, visual", "KL divergence of the bottleneck towards visual"),
    "relevance_audio": Wording("Relevance, audio", "error of the audio predicted from the bottleneck"),
    "relevance_visual": Wording(
        "Relevance, visual", "error of the visual features predicted from the bottleneck"
    ),
    "balance": Wording("Balance", "unequal use of the experts"),
    "valid_loss": Wording("Validation", "loss on the validation split, which chooses the epoch"),
    "total": Wording("Weighted sum", "what training minimises"),
    "std": Wording("Spread", "standard deviation of a representation over clips, mean over its widths"),
    "gap_over_std": Wording(
        "Gap ÷ spread", "how far the invariant half moves between views, in units of its spread"
    ),
    "mird:bound": Wording("Î", "upper bound of the mutual information, in nats, by the run's own estimators"),
    "mmim:bound": Wording(
        "Parts of the bound", "mean log-likelihood, without its constant, and entropy, in nats"
    ),
    "self_mm:bound": Wording(
        "Labels at a bound", "share of clips whose new unimodal label would end at a bound"
    ),
    "shift": Wording("Shift of the labels", "mean distance of the unimodal labels from the clips' own"),
    "expert": Wording("Experts by gates", "share of each expert in a modality's gates"),
    "rows": Wording("Experts by rows", "share of a modality's rows routed to each expert"),
    "sigma": Wording("Bottleneck's σ", "mean over dimensions; 1, the prior's, says nothing about the clip"),
    "ratio": Wording("ρ of each modality", "how much each modality counts in the fusion; they sum to 1"),
    "relation": Wording(
        "Label relations", "share of clips. R1: signs differ or neutral, R2: equal, R3: strength differs"
    ),
    "omega": Wording("ω", "mean agreement of the labels of text and sound"),
    "within_margin": Wording(
        "Within the margin", "share of clips with nothing left for the repulsion to push"
    ),
    "risk": Wording("Risk by environment", "training error of the joint representation with the named cues"),
    "gradient": Wording(
        "Gradient ratio", "gradient of the invariance constraint over that of the prediction's loss"
    ),
    "alpha": Wording("Ridge's α", "penalty chosen on the validation clips"),
    "own": Wording("Loss of each head", "error of each modality's own head"),
    "weight": Wording("Weight of each head", "in the mean of the heads' outputs; they sum to 1"),
}

SYMBOLS = {  # as methods' texts write them: what they stand for
    "H^u": "MISR: the joint representation of all modalities",
    "L_IC": "MISR: the loss that makes the risks of all environments equal",
    "Z_inv": "CmIR: the half of a representation that should be invariant",
    "Z_spu": "CmIR: the half of a representation that should hold what is spurious",
    "X^f": "SLaD: the fused representation, which the classifier reads",
    "X'^t": "SLaD: the text after alignment with the sound",
    "X'^a": "SLaD: the sound after alignment with the text",
}
SYMBOL = re.compile(r"(?<![\w$])([A-Za-zÎωσμ]['’]?)([\^_])([A-Za-z]{1,4})(?![\w$])")
KEYS = "|".join([*METRICS, *(key for key in METHODS if key not in ENGLISH)])
MENTIONED = re.compile(rf"(?<![\w/@.-])(?:{KEYS})(?![\w/@-]|\.\w)")  # in the name of a run or file it stays
CODE = re.compile(r"`([^`]+)`")


def method_name(method: str) -> Wording:
    """`MAG-BERT`, and what it is; the key where a method's title has no name, and of what was imported.

    `MISR, from mosei` was trained there.
    """
    key, origin, trained_on = method.partition(FROM)
    if key not in METHODS:
        return Wording(method)
    name, colon, what = METHODS[key].title.partition(":")
    if not colon:
        name, what = key, name
    return Wording(f"{name}, from {trained_on}" if origin else name, what.strip().removesuffix("."))


def metric_name(metric: str) -> Wording:
    """Of a metric as results name it: `mae`, `f1_<class>`, `valid_mae`, `ood_mae`."""
    plain = metric.removeprefix(OOD)
    bare = plain.removeprefix("valid_")
    of_class = bare.removeprefix("f1_")
    found = METRICS.get(bare, Wording(f"F1, {of_class}" if of_class != bare else bare, "F1 of this class"))
    if bare == plain:
        return found
    return Wording(f"Valid {found.text}", f"validation split: {found.why}")


def term_name(key: str, method: str = "") -> Wording:
    """Of a loss term, or of the measurements that have one beginning: `expert/text` of `expert/text/0`."""
    kind, _, of = key.partition("/")
    found = TERMS.get(f"{method}:{kind}") or TERMS.get(kind) or Wording(plain(kind).capitalize())
    return Wording(f"{found.text}, {plain(of)}", found.why) if of else found


def diagnostic_groups(keys: list[str]) -> dict[str, list[str]]:
    """What is drawn into one panel: `risk` -> `risk/text` ...; `own` -> the losses of modalities."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        group = key.rpartition("/")[0] or key
        if key in MODALITIES:
            group = "own"
        elif key.startswith("weight_"):
            group = "weight"
        groups.setdefault(group, []).append(key)
    return groups


def in_words(line: str) -> str:
    """A remark with the names of the methods and metrics that it mentions by their keys."""

    def name(found: re.Match[str]) -> str:
        return method_name(found[0]).text if found[0] in METHODS else METRICS[found[0]].text

    return MENTIONED.sub(name, line)


def plain(key: str) -> str:
    """Words of a key: `text_only` -> `text only`."""
    return key.replace("_", " ").replace("/", ", ")


def typeset(text: str) -> str:
    """HTML of a sentence: `H^u` and `L_IC` as symbols that are explained, words in backticks as code."""

    def symbol(found: re.Match[str]) -> str:
        base, side, index = found.groups()
        tag = "sup" if side == "^" else "sub"
        written = f"<i>{base.replace('&#x27;', '′')}</i><{tag}>{index}</{tag}>"
        why = SYMBOLS.get(found[0].replace("’", "'"))
        return f'<abbr title="{escape(why)}">{written}</abbr>' if why else written

    parts = CODE.split(text)  # every second one is code
    shown = [
        f"<code>{escape(part)}</code>" if place % 2 else SYMBOL.sub(symbol, escape(part, quote=False))
        for place, part in enumerate(parts)
    ]
    return "".join(shown).replace("'</i>", "′</i>")
