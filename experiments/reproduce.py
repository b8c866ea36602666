"""Make every figure and table of the docs again: python -m experiments.reproduce (stored cells are not recomputed)."""

from experiments import (
    ablation,
    budgets,
    comparison,
    depth,
    fan2021,
    head_size,
    hidden_size,
    paper,
    prediction,
    recovery,
    training_free,
    vocabulary,
)

if __name__ == "__main__":
    training_free.main()
    ablation.main()
    budgets.main()
    depth.main()
    head_size.main()
    prediction.main()
    fan2021.main()
    comparison.main()
    recovery.main()
    paper.main()
    vocabulary.main()
    hidden_size.main()
