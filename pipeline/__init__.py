"""From raw video clips to tracked, comparable metrics in multimodal sentiment analysis.

The rooms, from the ground up; each imports only what stands before it:

core         errors, vocabulary, paths, files, git, devices, console
params       params.yaml as typed objects
media        containers, frames, waveform, subtitles
formats      foreign files, read safely
store        Parquet with provenance
execution    items to processes, Ray or a GPU, and results back
corpora      raw corpora -> clip table
transcripts  what is said, and when
imports      ready-made features -> clip table, transcripts, feature stores
features     encoders and extraction
datasets     training sets, made and read
training     the loop, runs, search
evaluation   metrics, scoring, views, significance, comparison, the papers' tables
reports      pages, tables, pictures
claims       planted corpora, and what methods make of them
status       why a stage is stale, the list of runs, dvc.lock of two branches
predict      trained runs on new clips
validate     a corpus examined before anything is learnt
cli          one file a command

`models` stands beside `media` and imports `core` alone.
"""
