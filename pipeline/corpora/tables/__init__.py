"""The tables that people write beside their media: CSV, label files, values, names of media files."""
