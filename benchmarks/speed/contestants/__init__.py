"""What is timed: a training step of mdpo, of the paper's code and of TRL, and a whole run."""
