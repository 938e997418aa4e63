"""Photos in, semantics and metric depth out: sources, results, pictures and point clouds."""
