"""Every file of ours as a typed, versioned model, reader and writer together; loads no PyTorch."""
