"""The basal decoder: x = f(z) on control cells, then frozen; and the baseline that responses are measured from.

f is a linear map plus one hidden layer (:mod:`decoder`), trained by squared error with early stopping on held-out control wells (:mod:`training`,
:mod:`cells`, :mod:`judging`). What a treated condition is compared with is in :mod:`baselines`, and what each choice leaves of the response in
:mod:`comparison`. Each stage imports its module, so that the digest of its code holds no others.
"""
