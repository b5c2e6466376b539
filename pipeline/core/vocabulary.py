"""Words of the field that several rooms use, each said once."""

from __future__ import annotations

MODALITIES = ("text", "audio", "visual")

TRAIN, VALID, TEST, UNLABELED = "train", "valid", "test", "unlabeled"
SPLITS = (TRAIN, VALID, TEST, UNLABELED)
"""of every training set"""
TEST_OOD, CONTEXT = "test_ood", "context"
ALL_SPLITS = (*SPLITS, TEST_OOD, CONTEXT)
"""of a clip table; some training sets have the last two"""

SEPARATOR = "$_$"
"""between video_id and clip_id, as in the field's ready-made feature files"""
LABELS = ("label", "label_text", "label_audio", "label_visual")
CLASSES = ("class_label", "class_text", "class_audio", "class_visual")
"""columns of the clip table, in the order of `LABELS`"""

OK, ABSENT, FAILED = "ok", "absent", "failed"
"""status of a clip or of a feature row; absent = not in the source, failed = should have worked"""
TRANSIENT = "transient: "
"""what the error of a failed row begins with that is computed again at the next run"""

FROM = "-from-"
"""between a method and the training set whose runs were tested on another, in the name of their results"""
NONE = "none"
"""in params.yaml: no features of a modality, no second set ..."""
ASSEMBLED_FORMAT = 1
"""version of an assembled set's files"""
