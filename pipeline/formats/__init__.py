"""Foreign files, read safely: pickles, npz, HDF5, OpenFace's tables; nothing in them is executed."""
