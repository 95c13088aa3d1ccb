"""What a run tells: metrics while it trains, a summary when it is done."""
