"""Every opinion of gpudoctor: functions and their rows, by layer."""
