"""The only place that opens and decodes media: containers, frames, waveform, subtitles."""
