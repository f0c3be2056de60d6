"""State machines that decide for producers and groups, replayed from their records; pure but for what runs them."""
