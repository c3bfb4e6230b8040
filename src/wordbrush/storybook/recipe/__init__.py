"""The recipe of the storybook models: the same code trains them on two cores and on a GPU.

Stages, in order: ``renders`` → ``tokenizer`` → ``autoencoder`` → ``latents`` → ``recogniser`` → ``text_to_image``;
``contrastive`` and ``judge`` need only the renders. Every stage is resumed by running the same command again.
"""
