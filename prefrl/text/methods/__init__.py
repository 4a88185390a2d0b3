"""Methods that improve a policy: PPO, GRPO, RLOO, RAFT, fine-tuning, and best of n."""
