"""Everything that touches Blender, but for what a person clicks."""
