"""Commands: one file for each, with its options (`parser`) and what it does (`run`)."""
