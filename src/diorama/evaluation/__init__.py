"""From predictions to numbers: protocols, metrics, breakdowns. Tensors or arrays in, numbers out; imports no method."""
