"""The recipe of the storybook models: the same code trains them on two cores and on a GPU.

Stages, in order: ``renders`` → ``tokenizer`` → ``autoencoder`` → ``latents`` → ``decoder`` → ``recogniser`` →
``text_to_image`` → ``details``; ``joint_text_to_image`` needs what ``text_to_image`` does, ``contrastive`` and
``judge`` need only the renders, ``writer`` none of these. Every stage is resumed by running the same command again.
"""
