"""What the cluster knows of itself: topics, ids and configs as an event-sourced log."""
