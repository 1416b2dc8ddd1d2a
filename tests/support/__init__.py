"""What tests share: builders, boots, the programs and packages they need."""
