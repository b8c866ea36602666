"""Methods that choose while they train: what stays is decided step by step, with the loss of distillation."""
