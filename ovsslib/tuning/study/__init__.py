"""What the reward is worth: reward and mIoU of every candidate."""
