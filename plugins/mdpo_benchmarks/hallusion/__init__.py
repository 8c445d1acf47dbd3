"""HallusionBench: yes/no questions in pairs, about pictures, altered pictures and no picture."""
