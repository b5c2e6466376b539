"""The feature store: written is read, only what is missing is computed, equal content gives equal bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made.feature_rows import DIM, META, make_row

from pipeline.core.errors import FormatError, MsaError, ParamsError, TooManyFailedError
from pipeline.core.vocabulary import ABSENT, FAILED, OK, TRANSIENT
from pipeline.store import store as features_module
from pipeline.store.shard import META_KEY, FeatureRow, read_meta, read_rows, write_rows
from pipeline.store.store import FeatureStore, StorePart, Update, bucket_of, shard_name

SHARDS = 4


class Counting:
    """A compute function that remembers what it was asked for."""

    def __init__(self, wanted: dict[str, str], failing: dict[str, str] | None = None):
        self.wanted, self.failing, self.asked = wanted, failing or {}, []

    def __call__(self, clip_ids: list[str]) -> Iterator[FeatureRow]:
        for clip_id in clip_ids:
            self.asked.append(clip_id)
            if clip_id in self.failing:
                yield make_row(clip_id, self.wanted[clip_id], FAILED, self.failing[clip_id])
            else:
                yield make_row(clip_id, self.wanted[clip_id])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def wanted_clips(n: int) -> dict[str, str]:
    return {f"video{i // 4}$_${i % 4}": f"source{i}" for i in range(n)}


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_rows_survive_the_round_trip(tmp_path: Path, dtype: str) -> None:
    meta = {**META, "modality": "text", "dtype": dtype}
    rows = [make_row("b"), make_row("a"), make_row("c", status=ABSENT, error="no transcript")]
    for row in rows[:2]:
        assert row.features is not None
        row.features = row.features.astype(dtype)
        row.times = None
        row.token_ids = np.arange(len(row.features), dtype=np.int32)
        row.char_start = row.token_ids - 1
        row.char_end = row.token_ids + 1
    write_rows(tmp_path / "x.parquet", rows, meta)
    read = read_rows(tmp_path / "x.parquet")
    assert list(read.rows) == ["a", "b", "c"]
    assert {key: read.meta[key] for key in meta} == meta
    for row in rows:
        back = read.rows[row.clip_id]
        assert (back.status, back.error, back.source_sha256) == (row.status, row.error, row.source_sha256)
        for name in ("features", "token_ids", "char_start", "char_end"):
            expected, found = getattr(row, name), getattr(back, name)
            assert (expected is None) == (found is None), name
            if expected is not None:
                assert found.dtype == expected.dtype
                np.testing.assert_array_equal(found, expected)
        assert back.times is None


def test_the_type_says_the_shape_and_any_reader_opens_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.parquet", [make_row("a")], META)
    schema = pq.read_schema(tmp_path / "x.parquet")
    assert str(schema.field("features").type).startswith("list<") and f"[{DIM}]" in str(
        schema.field("features").type
    )
    column = pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(0).column(3)
    assert column.path_in_schema == "features.list.element.list.element"
    assert "BYTE_STREAM_SPLIT" in column.encodings and column.compression == "ZSTD"


def test_reading_row_groups_in_pieces_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_row(f"clip{i}") for i in range(20)]
    monkeypatch.setattr("pipeline.store.shard.ROW_GROUP_BYTES", 1000)
    write_rows(tmp_path / "x.parquet", rows, META)
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups > 3
    read = read_rows(tmp_path / "x.parquet").rows
    for row in rows:
        np.testing.assert_array_equal(read[row.clip_id].features, row.features)
        np.testing.assert_allclose(read[row.clip_id].times, row.times, rtol=1e-6)


def test_buckets_are_stable_and_even() -> None:
    buckets = [bucket_of(f"clip{i}", 16) for i in range(3200)]
    assert buckets == [bucket_of(f"clip{i}", 16) for i in range(3200)]
    counts = np.bincount(buckets, minlength=16)
    assert counts.min() > 150 and counts.max() < 260  # 200 expected, sd 13.7


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    wanted = wanted_clips(40)
    store = FeatureStore(tmp_path / "store")
    first = Counting(wanted)
    update = store.update(wanted, META, SHARDS, first)
    assert sorted(first.asked) == sorted(wanted)
    assert (update.total, update.kept, update.computed, update.status) == (40, 0, 40, {OK: 40})
    before = contents(store.folder)
    assert set(before) == {shard_name(bucket) for bucket in range(SHARDS)}

    nothing = Counting(wanted)
    assert store.update(wanted, META, SHARDS, nothing).computed == 0
    assert nothing.asked == [] and contents(store.folder) == before

    more = wanted | {"new$_$1": "source"}
    one = Counting(more)
    assert store.update(more, META, SHARDS, one).kept == 40
    assert one.asked == ["new$_$1"]
    changed = [name for name, data in contents(store.folder).items() if before[name] != data]
    assert changed == [shard_name(bucket_of("new$_$1", SHARDS))]

    store.update(wanted, META, SHARDS, Counting(wanted))  # and away again
    assert contents(store.folder) == before


def test_a_changed_source_or_setting_is_recomputed(tmp_path: Path) -> None:
    wanted = wanted_clips(12)
    store = FeatureStore(tmp_path)
    store.update(wanted, META, SHARDS, Counting(wanted))
    edited = wanted | {"video0$_$1": "re-cut"}
    one = Counting(edited)
    store.update(edited, META, SHARDS, one)
    assert one.asked == ["video0$_$1"]
    every = Counting(edited)
    store.update(edited, {**META, "fingerprint": "f2"}, SHARDS, every)
    assert sorted(every.asked) == sorted(edited)
    fresh = Counting(edited)
    store.update(edited, {**META, "fingerprint": "f2"}, SHARDS, fresh, fresh=True)
    assert sorted(fresh.asked) == sorted(edited)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bytes_do_not_depend_on_the_history(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    wanted = wanted_clips(15)
    straight = FeatureStore(tmp_path_factory.mktemp("straight"))
    straight.update(wanted, META, SHARDS, Counting(wanted))
    winding = FeatureStore(tmp_path_factory.mktemp("winding"))
    for _ in range(3):
        some = data.draw(st.lists(st.sampled_from(sorted(wanted)), unique=True))
        order = data.draw(st.permutations(some))
        winding.update({clip: wanted[clip] for clip in order}, META, SHARDS, Counting(wanted))
    winding.update(wanted, META, SHARDS, Counting(wanted))
    assert contents(winding.folder) == contents(straight.folder)


def test_an_interrupted_update_keeps_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = wanted_clips(30)
    monkeypatch.setattr(features_module, "FLUSH_SECONDS", 0.0)  # write after every clip

    class Killed(Exception):
        pass

    def dying(clip_ids: list[str]) -> Iterator[FeatureRow]:
        for number, row in enumerate(Counting(wanted)(clip_ids)):
            if number == 17:
                raise Killed
            yield row

    store = FeatureStore(tmp_path / "killed")
    with pytest.raises(Killed):
        store.update(wanted, META, SHARDS, dying)
    (store.folder / ".shard-001.parquet.tmp").write_bytes(b"half a file")
    rest = Counting(wanted)
    assert store.update(wanted, META, SHARDS, rest).kept == 17
    assert len(rest.asked) == 13
    undisturbed = FeatureStore(tmp_path / "undisturbed")
    undisturbed.update(wanted, META, SHARDS, Counting(wanted))
    assert contents(store.folder) == contents(undisturbed.folder)


def test_another_number_of_shards_moves_rows_and_computes_nothing(tmp_path: Path) -> None:
    wanted = wanted_clips(40)
    for first, second in ((16, 5), (5, 16)):
        store = FeatureStore(tmp_path / f"{first}")
        store.update(wanted, META, first, Counting(wanted))
        nothing = Counting(wanted)
        assert store.update(wanted, META, second, nothing).kept == 40
        assert nothing.asked == []
        direct = FeatureStore(tmp_path / f"direct {second}")
        direct.update(wanted, META, second, Counting(wanted))
        assert contents(store.folder) == contents(direct.folder)


def test_damaged_data_and_footers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_rows(path, [make_row(f"clip{i}") for i in range(50)], META)
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(800) + whole[1000:])
    with pytest.raises(FormatError, match="its data are damaged"):
        read_rows(path)
    for footer, said in ((b"{", "its footer is damaged"), (b'{"format": 1}', "its footer lacks modality")):
        table = pa.table({"clip_id": ["a"]}).replace_schema_metadata({META_KEY: footer})
        pq.write_table(table, path)
        with pytest.raises(FormatError, match=said):
            read_meta(path)


def test_broken_and_surplus_shards(tmp_path: Path) -> None:
    wanted = wanted_clips(20)
    store = FeatureStore(tmp_path)
    store.update(wanted, META, 8, Counting(wanted))
    assert len(store.files()) == 8
    store.update(wanted, META, SHARDS, Counting(wanted))
    assert len(store.files()) == SHARDS
    good = contents(tmp_path)
    victim = store.files()[0]
    victim.write_bytes(victim.read_bytes()[:100])
    store.update(wanted, META, SHARDS, Counting(wanted))
    assert contents(tmp_path) == good


def test_transient_failures_are_tried_again_and_others_only_on_request(tmp_path: Path) -> None:
    wanted = wanted_clips(10)
    failing = {"video0$_$0": f"{TRANSIENT}took longer than 2 s", "video1$_$1": "not a media file"}
    store = FeatureStore(tmp_path)
    update = store.update(wanted, META, SHARDS, Counting(wanted, failing))
    assert update.status == {OK: 8, FAILED: 2} and update.failed == failing
    again = Counting(wanted)
    update = store.update(wanted, META, SHARDS, again)
    assert again.asked == ["video0$_$0"] and set(update.failed) == {"video1$_$1"}
    asked_for = Counting(wanted)
    assert store.update(wanted, META, SHARDS, asked_for, retry_failed=True).failed == {}
    assert asked_for.asked == ["video1$_$1"]


def test_too_many_failed() -> None:
    update = Update(total=100, failed={f"clip{i}": "no such file" for i in range(3)})
    update.check(0.03)
    with pytest.raises(TooManyFailedError, match=r"3 of 100 clips failed.*0\.02") as caught:
        update.check(0.02)
    assert "clip1: no such file" in str(caught.value) and caught.value.exit_code == 1


def test_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(FormatError, match="not a readable Parquet file"):
        read_meta(tmp_path / "text.parquet")
    write_rows(tmp_path / "old.parquet", [], META | {"format": 0})
    with pytest.raises(FormatError, match="feature format 0, this version reads 1"):
        read_meta(tmp_path / "old.parquet")


def test_an_empty_folder_is_no_modality(tmp_path: Path) -> None:
    assert FeatureStore(tmp_path).read() is None


def test_mixed_settings_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / shard_name(0), [make_row("a")], META)
    write_rows(tmp_path / shard_name(1), [make_row("b")], META | {"fingerprint": "f2"})
    with pytest.raises(FormatError, match="other settings"):
        FeatureStore(tmp_path).read()


def test_a_damaged_shard_is_made_again_and_no_other(tmp_path: Path) -> None:
    """A flipped byte in the features, which neither the footer nor the ledger shows."""
    wanted = wanted_clips(40)
    store = FeatureStore(tmp_path)
    store.update(wanted, META, SHARDS, Counting(wanted))
    before = contents(tmp_path)
    path = tmp_path / shard_name(2)
    damaged = bytearray(before[path.name])
    file = pq.ParquetFile(path)
    column = next(
        file.metadata.row_group(0).column(i)
        for i in range(file.metadata.num_columns)
        if file.metadata.row_group(0).column(i).path_in_schema.startswith("features")
    )
    damaged[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(bytes(damaged))
    compute = Counting(wanted)
    store.update(wanted, META, SHARDS, compute)
    assert set(compute.asked) == {clip_id for clip_id in wanted if bucket_of(clip_id, SHARDS) == 2}
    assert contents(tmp_path) == before


def test_parts_by_several_machines_are_the_whole(tmp_path: Path) -> None:
    wanted = wanted_clips(40)
    whole, shared_folder = FeatureStore(tmp_path / "whole"), FeatureStore(tmp_path / "parts")
    whole.update(wanted, META, SHARDS, Counting(wanted))
    asked: list[str] = []
    for first in range(3):
        compute = Counting(wanted)
        update = shared_folder.update(wanted, META, SHARDS, compute, part=StorePart(first, 3))
        assert update.computed == update.total == len(compute.asked) and update.missing == 0
        asked += compute.asked
    assert sorted(asked) == sorted(wanted)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_single_clips_are_computed_anew_and_all_else_is_left_alone(tmp_path: Path) -> None:
    wanted = wanted_clips(20)
    store = FeatureStore(tmp_path / "store")
    some = {clip_id: wanted[clip_id] for clip_id in list(wanted)[:15]}
    store.update(some, META, SHARDS, Counting(some))
    chosen, new = list(wanted)[3], list(wanted)[17]
    compute = Counting(wanted)
    update = store.update(wanted, META, SHARDS, compute, part=StorePart(clips=frozenset({chosen, new})))
    assert sorted(compute.asked) == sorted([chosen, new])
    assert (update.kept, update.computed, update.missing) == (14, 2, 4)
    found = store.read()
    assert found is not None and set(found.rows) == {*some, new}
    store.update(wanted, META, SHARDS, Counting(wanted))
    whole = FeatureStore(tmp_path / "whole")
    whole.update(wanted, META, SHARDS, Counting(wanted))
    assert contents(tmp_path / "whole") == contents(tmp_path / "store")


def test_two_runs_on_one_store_do_not_mix(tmp_path: Path) -> None:
    wanted = wanted_clips(8)
    store = FeatureStore(tmp_path / "store")

    def inside(clip_ids: list[str]) -> Iterator[FeatureRow]:
        with pytest.raises(MsaError, match="another run is working on"):
            FeatureStore(tmp_path / "store").update(wanted, META, SHARDS, Counting(wanted))
        yield from Counting(wanted)(clip_ids)

    store.update(wanted, META, SHARDS, inside)
    assert store.update(wanted, META, SHARDS, Counting(wanted)).kept == 8


def test_single_clips_do_not_cost_the_others_their_rows(tmp_path: Path) -> None:
    """Other settings: the shard of the clip would keep nothing else."""
    wanted = wanted_clips(20)
    store = FeatureStore(tmp_path / "store")
    store.update(wanted, META, SHARDS, Counting(wanted))
    before = contents(tmp_path / "store")
    part, other = StorePart(clips=frozenset({next(iter(wanted))})), {**META, "fingerprint": "f2"}
    with pytest.raises(ParamsError, match="was made with other settings"):
        store.update(wanted, other, SHARDS, Counting(wanted), part=part)
    assert contents(tmp_path / "store") == before


def test_a_killed_fresh_run_goes_on_without_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "FLUSH_SECONDS", 0.0)
    wanted = wanted_clips(40)
    store = FeatureStore(tmp_path / "store")
    store.update(wanted, META, SHARDS, Counting(wanted))

    def killed(clip_ids: list[str]) -> Iterator[FeatureRow]:
        for number, row in enumerate(Counting(wanted)(clip_ids)):
            if number == 25:
                raise KeyboardInterrupt
            yield row

    with pytest.raises(KeyboardInterrupt):
        store.update(wanted, META, SHARDS, killed, fresh=True)
    rest = Counting(wanted)
    update = store.update(wanted, META, SHARDS, rest)
    assert update.kept >= 20 and len(rest.asked) == 40 - update.kept > 0


def test_what_a_killed_resharding_left_is_removed(tmp_path: Path) -> None:
    wanted = wanted_clips(20)
    store = FeatureStore(tmp_path / "store")
    store.update(wanted, META, SHARDS, Counting(wanted))
    (tmp_path / "store" / ".resharding-x").mkdir()
    compute = Counting(wanted)
    store.update(wanted, META, SHARDS + 3, compute)
    assert compute.asked == []
    assert set(contents(tmp_path / "store")) == {shard_name(i) for i in range(SHARDS + 3)}
