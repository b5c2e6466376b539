"""What the first bytes of a file say it is, and one line for files that are not what they are taken for.

A download that failed leaves a page of HTML or a Git LFS pointer under the right name; archives must be
unpacked first; and a file under the wrong ending is better told its right one than called damaged.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import FormatError

HEAD = 512  # bytes
ARCHIVES = {
    b"Rar!\x1a\x07": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"PK\x03\x04": "ZIP",
    b"PK\x05\x06": "ZIP",
}
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".7z", ".rar")
OTHERS = {
    b"\x93NUMPY": "a NumPy array; name it .npy",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file; name it .h5 or .csd",
    b"PAR1": "a Parquet file",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
}
TORCH = bytes.fromhex("6cfc9c46f9206aa85019")  # the number with which old PyTorch files begin


def refuse_archive(path: Path) -> None:
    """Raise FormatError where a file is an archive by its ending or first bytes; .npz, a ZIP, is none."""
    name = path.name.lower()
    kind = next((ending for ending in ENDINGS if name.endswith(ending)), None)
    if kind is None and path.is_file() and not name.endswith((".npz", ".npy")):
        head = _head(path)
        kind = next((kind for start, kind in ARCHIVES.items() if head.startswith(start)), None)
        if kind == "ZIP":  # what torch.save writes is one, too
            kind = "ZIP (or a PyTorch checkpoint)"
    if kind is not None:
        raise FormatError(f"{path}: is an archive ({kind}); unpack it first and give the files inside")


def refuse_stranger(path: Path, own: bytes = b"") -> None:
    """FormatError for files that cannot be features, whatever their ending.

    Parameters
    ----------
    own : how the expected kind of file begins
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such file")
    head = _head(path)
    if not head:
        raise FormatError(f"{path}: is empty; copy or download it again")
    if own and head.startswith(own):
        return
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise FormatError(f"{path}: is a web page, so its download failed; open the link in a browser")
    if start.startswith(b"version https://git-lfs"):
        raise FormatError(f"{path}: is a Git LFS pointer, not the file; run git lfs pull")
    refuse_archive(path)
    if TORCH in head[:20]:
        raise FormatError(
            f"{path}: is a PyTorch checkpoint; save its arrays with tensor.numpy() and np.savez"
        )
    for signature, kind in OTHERS.items():
        if head.startswith(signature):
            raise FormatError(f"{path}: despite its name, is {kind}")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror})") from error
