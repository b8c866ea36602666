"""Gradual pruning: baselines that choose what stays step by step, while they train with the distillation loss."""
