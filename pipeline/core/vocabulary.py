"""Words of the field that several rooms use, each said once."""

from __future__ import annotations

MODALITIES = ("text", "audio", "visual")

OK, ABSENT, FAILED = "ok", "absent", "failed"
