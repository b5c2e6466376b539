"""From raw video clips to tracked, comparable metrics in multimodal sentiment analysis."""
