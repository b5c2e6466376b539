"""Parts of methods whose paper does not fit into one file; a method's own file says which are its."""
