"""A face in a frame: mesh, geometry, canonical face, action units."""
