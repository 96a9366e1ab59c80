"""What materials are in a chemist's words: oxidation states, coordination, bonds, prototypes."""
