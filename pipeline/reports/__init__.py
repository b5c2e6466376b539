"""What people read: pages, tables and pictures of results and comparisons."""
