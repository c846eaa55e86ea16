"""Everything between a delivery and its durable row: kept, refused, quarantined, diagnosed, reinstated."""
