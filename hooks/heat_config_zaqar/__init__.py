"""What a guest image runs to take Heat software-config from Zaqar and to signal the results."""
