"""How a policy is improved: PPO, fine-tuning on answers and demonstrations, the best of n."""
