"""Losses: masked functions of tensors, one formula each, equal for any number of processes."""
