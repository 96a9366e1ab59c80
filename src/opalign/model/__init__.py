"""What is learned: encoders, heads, and the checkpoints that keep them."""
