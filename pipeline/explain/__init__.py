"""Why a trained run predicts what it does: evidence in words, sound and frames, and cards that show it."""
