"""The waveform that recognition, alignment, encoders of sound and training sets share: mono, int16."""

SAMPLE_RATE = 16_000  # Hz, what HuBERT, wav2vec 2.0, WavLM, data2vec-audio and Whisper were trained on
FULL_SCALE = 32_768  # of int16 samples
