"""What methods share: the contract, batches, blocks, backbones, checkpoints."""
