"""A model that runs → a probe: what each of its layers puts out. It needs torch and transformers."""
