"""The command line, and the same inside Blender: arguments → settings → pipeline."""
