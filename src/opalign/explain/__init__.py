"""What a network has learned: features of its layers, groups of materials, and their chemistry."""
