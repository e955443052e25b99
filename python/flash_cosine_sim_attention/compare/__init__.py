"""This package beside what else computes attention: time and memory, as a table, CSV and a picture.

    python -m flash_cosine_sim_attention.compare --help"""
