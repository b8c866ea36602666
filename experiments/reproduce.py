"""Makes every figure and table of the docs again: python -m experiments.reproduce (cells already computed are kept)."""

from experiments import (
    ablation,
    budgets,
    comparison,
    depth,
    fan2021,
    head_size,
    paper,
    prediction,
    recovery,
    training_free,
    vocabulary,
    width,
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
    width.main()
