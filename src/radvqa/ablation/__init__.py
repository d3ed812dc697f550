"""Ablations: a recipe and its arms walked as one study, their scores in one table, two runs question by question.

run_study(load_study("recipes/ablation.yaml"))
"""
