"""Real processes, real SDKs and scripted peers for tests."""
