"""What a model puts out, layer by layer: probe files, and pictures and shapes of them."""
