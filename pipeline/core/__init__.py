"""What every room uses: errors, vocabulary, paths, files, git, devices, console."""
