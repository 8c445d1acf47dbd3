"""Models behind servers that speak OpenAI's chat completions: judges, and models that answer benchmarks."""
