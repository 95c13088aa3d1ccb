"""What carries out a method's phases: ranks, micro-batches, precision, optimizers, checkpoints, evaluation."""
