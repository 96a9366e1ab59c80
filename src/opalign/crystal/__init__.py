"""What goes in: structures of any origin, checked, as graphs of plain tensors."""
