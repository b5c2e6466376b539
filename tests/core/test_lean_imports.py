"""Libraries of which parts are left out: what was left out is there for who asks for it afterwards."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from pipeline.core.lean_imports import arrow_without_pandas, import_bare, without

arrow_without_pandas()
import pyarrow
array = pyarrow.array([[1.0], [2.0]])
assert "pandas" not in sys.modules
table = pyarrow.Table.from_arrays([array], ["a"]).to_pandas()
assert [list(row) for row in table["a"]] == [[1.0], [2.0]]
import pandas
assert pyarrow.array(pandas.Series([1, None])).null_count == 1

import_bare("mediapipe", "mediapipe.python.solutions")
from mediapipe.python.solutions.face_mesh import FaceMesh
assert "mediapipe.tasks" not in sys.modules and "matplotlib" not in sys.modules
import mediapipe
assert mediapipe.solutions.face_mesh.FaceMesh is FaceMesh and mediapipe.solutions.pose.Pose
assert mediapipe.__version__ == "0.10.14" and "mediapipe.tasks" in sys.modules

with without("fractions", "statistics.inner"):
    from fractions import marked
    from statistics.inner import with_options
    assert marked(len) is len and with_options(True)(len) is len
    from fractions import Fraction
assert "fractions" not in sys.modules and Fraction(2, 4).denominator == 2
import fractions
assert isinstance(Fraction(1), fractions.Fraction)

with without("xml", "xml.dom"):
    from xml.dom import ignored
    from xml.dom.minidom import parseString
    import xml.sax.handler
    assert parseString("<a/>").documentElement.tagName == "a" and xml.sax.handler.ContentHandler
import xml.dom.minidom
assert xml.dom.minidom.parseString is parseString and xml.dom.Node.ELEMENT_NODE == 1
assert xml.dom.minidom.__spec__.origin.endswith("minidom.py")

import torch
from models.core.backbones import load_text_backbone
model = load_text_backbone("minilm")
assert not {"torch._dynamo", "torch.distributed.tensor"} & set(sys.modules)
words = torch.tensor([[101, 2204, 102]])
with torch.no_grad():
    plain = model(words).last_hidden_state
    found = torch.compile(model, backend="eager")(words).last_hidden_state
assert torch._dynamo.utils.counters["frames"]["ok"] > 0
torch.testing.assert_close(found, plain, rtol=0, atol=0)
"""


def test_what_was_left_out_is_there_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
