"""From cheap to costly levels of theory: strategies on equal terms, and which level is needed."""
