"""How networks are trained, judged and compared with baselines."""
